"""The door to a PACS over the web: STOW-RS (PS3.18 section 10.5)."""

import hashlib
import json
import logging
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import httpx

from medseg.formats.dicom_send import Delivery, Parcel, Patience

logger = logging.getLogger(__name__)

PASSING = (408, 429, 500, 502, 503, 504)
"""HTTP codes of a server that may do better later."""

FAILED_SEQUENCE = "00081198"
REFERENCED_SEQUENCE = "00081199"
INSTANCE_UID = "00081155"


def stow(
    parcels: Sequence[Parcel],
    service: str,
    patience: Patience,
    tls: ssl.SSLContext | None = None,
    token: str | None = None,
) -> list[Delivery]:
    """Send files by STOW-RS, one request each; what may do better later is tried again.

    Args:
        parcels: What to send.
        service: Address of the DICOMweb service, such as https://pacs/dicom-web.
        patience: How long and how often.
        tls: Which certificates to trust; those of the system by default.
        token: Sent as a bearer token.

    Returns:
        What became of each parcel, in their order.
    """
    headers = {"Accept": "application/dicom+json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    verify = tls if tls is not None else True
    address = httpx.URL(f"{service.rstrip('/')}/studies")
    # Apart from the address, which httpx logs.
    login = (address.username, address.password) if address.userinfo else None
    # `trust_env=False`: a proxy of the environment would see the patient's images.
    with httpx.Client(
        headers=headers,
        auth=login,
        timeout=patience.timeout_seconds,
        verify=verify,
        trust_env=False,
    ) as client:
        bare = address.copy_with(userinfo=b"")
        return [_delivered(one, bare, client, patience) for one in parcels]


def _delivered(
    one: Parcel, address: httpx.URL, client: httpx.Client, patience: Patience
) -> Delivery:
    result = Delivery(one, "unreachable", 0)
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.delay_seconds * 2 ** (attempt - 1))
        result = replace(result, attempts=attempt + 1)
        try:
            answer = _posted(one, address, client)
        except httpx.RequestError:
            continue
        result = replace(result, status=answer.status_code)
        if answer.status_code not in PASSING:
            stored = answer.status_code in {200, 202} and _is_stored(one, answer)
            return replace(result, state="stored" if stored else "refused")
    return result


def _posted(one: Parcel, address: httpx.URL, client: httpx.Client) -> httpx.Response:
    """One request with one part, read from the file as it is sent."""
    size = one.path.stat().st_size
    # A boundary must not occur in what it bounds; the digest of its name cannot be in the file by
    # chance, and is the same in every try.
    boundary = hashlib.sha256(one.instance.encode()).hexdigest()
    head = (
        f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    return client.post(
        address,
        content=_chunks(one, head, tail),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + size + len(tail)),
        },
    )


def _chunks(one: Parcel, head: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    with one.path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
    yield tail


def _is_stored(one: Parcel, answer: httpx.Response) -> bool:
    """Whether the answer names the instance among those stored, and not among those that failed."""
    try:
        said = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    found = said[0] if isinstance(said, list) and said else said
    if not isinstance(found, dict):
        return False
    return one.instance in _named(found, REFERENCED_SEQUENCE) and one.instance not in _named(
        found, FAILED_SEQUENCE
    )


def _named(said: dict[str, object], sequence: str) -> set[str]:
    """The SOP Instance UIDs in a sequence of a DICOM JSON model; empty where it is malformed."""
    try:
        items = said[sequence]["Value"]  # type: ignore[index]
        return {str(item[INSTANCE_UID]["Value"][0]) for item in items}
    except (KeyError, IndexError, TypeError):
        return set()
