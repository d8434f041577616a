"""Results on their way to a PACS: out of a run folder over the network, and what arrived."""

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from medseg import run_folder
from medseg.errors import (
    PacsRefusalError,
    PacsUnreachableError,
    RunFolderError,
    SettingsError,
)
from medseg.formats import dicom_send, dicomweb
from medseg.formats.dicom_association import Node
from medseg.formats.dicom_send import Delivery, Parcel, Patience

TITLE = re.compile(r"(?= *[!-?A-\[\]-~])[ -?A-\[\]-~]{1,16}")
"""An AE title: up to 16 characters of ASCII, no backslash (PS3.5 table 6.2-1); here no @ either."""

NODE = re.compile(
    rf"(?P<title>{TITLE.pattern})@(?P<host>[^@:/\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{{1,5}})"
)
"""AET@HOST:PORT."""

LOGIN = re.compile("(?<=://)[^/@]*@")
"""A name and password in an address."""


@dataclass(frozen=True)
class Sender:
    """Who sends, and how.

    Attributes:
        title: Our application entity title.
        patience: How long and how often the PACS is waited for.
        commitment: Address and port where storage commitment is waited for; None does not ask.
        tls: Certificates; None sends in clear by C-STORE, and trusts the system's by STOW-RS.
        token: Bearer token for STOW-RS.
    """

    title: str = "MEDSEG"
    patience: Patience = field(default_factory=Patience)
    commitment: tuple[str, int] | None = None
    tls: ssl.SSLContext | None = None
    token: str | None = None


def send(run: Path, to: str, sender: Sender, log: Path | None = None) -> tuple[Delivery, ...]:
    """Send the DICOM objects of a run folder.

    Args:
        run: A complete run folder.
        to: AET@HOST:PORT for C-STORE, or the http(s) address of a DICOMweb service for STOW-RS.
        sender: Who sends.
        log: File that a line of JSON is added to for each object: without identifiers.

    Returns:
        What became of each object.

    Raises:
        RunFolderError: It is not a run folder, or holds no DICOM objects.
        SettingsError: The destination is neither form, what is asked of the connection contradicts
            it, or the log cannot be written; nothing was sent.
        PacsUnreachableError: An object could not be delivered.
        PacsRefusalError: The PACS refused an object, or does not commit itself to keep one.
    """
    found = parcels(run)
    _check_sender(sender)
    if log is not None:
        _check_log(log)
    if to.startswith(("http://", "https://")):
        if to.startswith("http://") and (sender.tls is not None or sender.token is not None):
            raise SettingsError(
                "Certificates and a token need an encrypted connection, so nothing was sent.",
                "Give an address that begins with https, or leave them out.",
            )
        if sender.commitment is not None:
            raise SettingsError(
                "STOW-RS knows no storage commitment, so nothing was sent.",
                "Leave --commitment-port out, or send to AET@HOST:PORT.",
            )
        done = dicomweb.stow(found, to, sender.patience, sender.tls, sender.token)
    else:
        node = parse_node(to)
        if sender.token is not None:
            raise SettingsError(
                "C-STORE knows no token, so nothing was sent.",
                "Leave --token-file out, or send to the address of a DICOMweb service.",
            )
        done = dicom_send.store(found, node, sender.title, sender.patience, sender.tls)
        if sender.commitment is not None:
            done = dicom_send.commit(
                done, node, sender.title, sender.commitment, sender.patience, sender.tls
            )
    if log is not None:
        _append(log, to, done)
    _check(done, asked=sender.commitment is not None)
    return tuple(done)


def parse_node(text: str) -> Node:
    """Read `AET@HOST:PORT`.

    Raises:
        SettingsError: It is none.
    """
    found = NODE.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise SettingsError(
            "The destination is neither AET@HOST:PORT nor the address of a DICOMweb service, so "
            "nothing was sent.",
            "Write for example --to ARCHIVE@127.0.0.1:4242 or --to https://pacs/dicom-web.",
        )
    return Node(found["title"].strip(), found["host"].strip("[]"), int(found["port"]))


def trusted(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Certificates for an encrypted connection; None where none was given.

    Args:
        ca: Who may have signed the PACS's certificate; the system's by default.
        certificate: Our own.
        key: Its private key; None where it lies in the same file.

    Raises:
        SettingsError: One of them cannot be read, or there is a key without its certificate.
    """
    if key is not None and certificate is None:
        raise SettingsError(
            "A private key was given without its certificate, so nothing was sent.",
            "Give --tls-certificate too.",
        )
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise SettingsError(
            "The certificates for TLS cannot be read, so nothing was sent.",
            "Give --tls-ca, --tls-certificate and --tls-key as PEM files.",
        ) from None
    return context


def plain(one: Delivery) -> Mapping[str, object]:
    """What became of an object as JSON holds it: its kind and fate, nobody's name."""
    return {
        "file": f"{run_folder.DICOM}/{one.parcel.path.name}",
        "kind": one.parcel.sop_class.name,
        "state": one.state,
        "attempts": one.attempts,
        "status": one.status,
        "committed": one.committed,
    }


def said(one: Mapping[str, object]) -> str:
    """What became of an object as a line for a person."""
    kept = {True: ", and the PACS keeps it", False: ", and the PACS does not keep it", None: ""}
    return f"{one['kind']}: {one['state']}{kept[one['committed']]}"  # type: ignore[index]


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        SettingsError: It cannot be read, or is no token.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise SettingsError(
            "The file with the token cannot be read, or holds no token, so nothing was sent.",
            "Give a file that holds the token alone.",
        )
    return token


def parcels(run: Path) -> list[Parcel]:
    """The DICOM objects of a complete run folder.

    Raises:
        RunFolderError: It is not a run folder, or holds none.
        UnreadableFileError: One is no DICOM file.
    """
    if not (run / run_folder.RUN_RECORD).is_file():
        raise RunFolderError(
            "This is not a complete run folder, so nothing was sent.",
            "Give the folder that `medseg delineate` made.",
        )
    files = sorted((run / run_folder.DICOM).glob("*.dcm"))
    if not files:
        raise RunFolderError(
            "The run folder holds no DICOM objects, so nothing was sent.",
            "Its report says why; objects are made where the source was DICOM.",
        )
    return [dicom_send.parcel(path) for path in files]


def _check_sender(sender: Sender) -> None:
    """Refuse what no connection can be made with.

    Raises:
        SettingsError: A title, a number of tries, a time or a port is none.
    """
    patience = sender.patience
    listens = sender.commitment is None or 0 < sender.commitment[1] < 65536
    if not (TITLE.fullmatch(sender.title) and patience.attempts > 0 and listens):
        raise SettingsError(
            "Our AE title, the number of attempts or the port for storage commitment is none, so "
            "nothing was sent.",
            "A title has 1 to 16 characters of ASCII; attempts are at least 1.",
        )
    if not 0 < patience.timeout_seconds < float("inf"):
        raise SettingsError(
            "The time to wait for an answer is none, so nothing was sent.",
            "Give --timeout-seconds above 0.",
        )


def _check_log(log: Path) -> None:
    try:
        with run_folder.machine_faults(), log.open("a", encoding="utf-8"):
            pass
    except OSError:
        raise SettingsError(
            "The log cannot be written there, so nothing was sent.",
            "Check that its folder exists and that you may write to it.",
        ) from None


def _append(log: Path, to: str, done: Sequence[Delivery]) -> None:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    place = LOGIN.sub("", to)
    lines = [json.dumps({"time": time, "to": place, **plain(one)}) + "\n" for one in done]
    with run_folder.machine_faults(), log.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def _check(done: Sequence[Delivery], *, asked: bool) -> None:
    """Raise what the person must know of objects that did not arrive."""
    lost = [one for one in done if one.state == "unreachable"]
    refused = [one for one in done if one.state == "refused" or one.committed is False]
    unsure = [one for one in done if asked and one.state == "stored" and one.committed is None]
    if refused:
        raise PacsRefusalError(
            f"The PACS refused {len(refused)} of {len(done)} objects "
            f"({', '.join(sorted({one.parcel.sop_class.name for one in refused}))}).",
            "See its log; it may not take this kind of object. Those it took may be sent again.",
        )
    if lost:
        raise PacsUnreachableError(
            f"The PACS did not take {len(lost)} of {len(done)} objects in "
            f"{max(one.attempts for one in lost)} attempts.",
            "Check that it runs and knows our AE title, then send again: it keeps one copy.",
        )
    if unsure:
        raise PacsUnreachableError(
            f"The PACS stored all {len(done)} objects and did not say in time that it keeps "
            f"{len(unsure)} of them.",
            "Check that it knows our address for storage commitment and that the port is free "
            "here, then send again.",
        )
