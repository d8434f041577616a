"""The door to a PACS over the network: C-STORE (PS3.4 annex B) and storage commitment (annex J).

What is sent is what lies in the file, byte for byte: nothing is decoded, and no transfer syntax is
converted. Nothing that is logged names a patient: an object is named by its kind.
"""

import logging
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from medseg.errors import UnreadableFileError
from medseg.formats.dicom_association import SUCCESS, Caller, Node, associated, configured

logger = logging.getLogger(__name__)

WARNINGS = (0xB000, 0xB006, 0xB007)
"""Stored, with a remark (PS3.4 table B.2-1)."""
PASSING = (0x0110, 0x0122, 0xA700)
"""Failures that may pass: processing failure, not now, out of resources (all of 0xA7xx)."""

State = Literal["stored", "refused", "unreachable"]


@dataclass(frozen=True)
class Parcel:
    """A file to be sent, and what the network layer has to know of it.

    Attributes:
        path: The file.
        sop_class: Its kind.
        instance: Its SOP Instance UID.
        syntax: Its transfer syntax.
    """

    path: Path
    sop_class: UID
    instance: UID
    syntax: UID


@dataclass(frozen=True)
class Delivery:
    """What became of a parcel.

    Attributes:
        parcel: What was sent.
        state: Whether the PACS has it.
        attempts: How often it was tried.
        status: The last DIMSE status or HTTP code; None where there was no answer.
        committed: Whether the PACS has committed itself to keep it; None where it was not asked or
            did not answer in time.
    """

    parcel: Parcel
    state: State
    attempts: int
    status: int | None = None
    committed: bool | None = None


@dataclass(frozen=True)
class Patience:
    """How long and how often a PACS is waited for.

    Attributes:
        attempts: Tries of one parcel.
        delay_seconds: Pause before the second try; each further one is twice as long.
        timeout_seconds: Longest wait for a connection or an answer.
    """

    attempts: int = 4
    delay_seconds: float = 2
    timeout_seconds: float = 30


def parcel(path: Path) -> Parcel:
    """What the network layer has to know of a DICOM file.

    Raises:
        UnreadableFileError: It is no DICOM file with file meta information.
    """
    try:
        meta = read_file_meta_info(path)
        return Parcel(
            path,
            UID(meta.MediaStorageSOPClassUID),
            UID(meta.MediaStorageSOPInstanceUID),
            UID(meta.TransferSyntaxUID),
        )
    except Exception:  # noqa: BLE001  pydicom raises anything on a foreign file
        raise UnreadableFileError(
            "A file of the run folder's dicom/ is no DICOM file, so nothing was sent.",
            "Run the study again; a run folder must not be changed by hand.",
        ) from None


def store(
    parcels: Sequence[Parcel],
    node: Node,
    calling: str,
    patience: Patience,
    tls: ssl.SSLContext | None = None,
) -> list[Delivery]:
    """Send files by C-STORE; those that fail in a way that may pass are tried again.

    Args:
        parcels: What to send.
        node: The PACS.
        calling: Our own application entity title.
        patience: How long and how often.
        tls: Encrypts the connection where given.

    Returns:
        What became of each parcel, in their order.
    """
    caller = Caller(calling, patience.timeout_seconds, tls)
    kinds = sorted({(one.sop_class, one.syntax) for one in parcels})
    contexts = [build_context(kind, syntax) for kind, syntax in kinds]
    done = [Delivery(one, "unreachable", 0) for one in parcels]
    for attempt in range(patience.attempts):
        if attempt:
            threading.Event().wait(patience.delay_seconds * 2 ** (attempt - 1))
        waiting = [number for number, one in enumerate(done) if one.state == "unreachable"]
        if not waiting:
            break
        logger.info("sending %d objects, attempt %d", len(waiting), attempt + 1)
        # Unless in chunks, pynetdicom decodes every file and encodes it again.
        with (
            configured(STORE_SEND_CHUNKED_DATASET=True),
            associated(node, caller, contexts) as association,
        ):
            for number in waiting:
                done[number] = _sent(done[number], association)
    return done


def commit(
    deliveries: Sequence[Delivery],
    node: Node,
    calling: str,
    listen: tuple[str, int],
    patience: Patience,
    tls: ssl.SSLContext | None = None,
) -> list[Delivery]:
    """Ask the PACS to commit itself to keep what it has stored, and wait for its answer.

    The PACS answers on the same association or on one of its own to `listen`, whose title is
    `calling`: it has to know that place.

    Args:
        deliveries: What became of the parcels.
        node: The PACS.
        calling: Our own application entity title.
        listen: Address and port where we wait for the answer.
        patience: Its time limit is that of the answer.
        tls: Encrypts the request where given; the answer, which names objects by UID alone, comes
            in clear.

    Returns:
        The same deliveries, those stored with `committed` as the PACS said.
    """
    stored = [one.parcel for one in deliveries if one.state == "stored"]
    if not stored:
        return list(deliveries)
    transaction = generate_uid(prefix=None)
    answer = _Answer(transaction)
    entity = AE(calling)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    try:
        server = entity.start_server(
            listen, block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, answer.hear)]
        )
    except OSError:
        logger.warning("the port for storage commitment is taken, or is not of this machine")
        return list(deliveries)
    assert server is not None  # noqa: S101  it does not block
    try:
        caller = Caller(calling, patience.timeout_seconds, tls)
        if _ask_to_commit(stored, node, caller, answer):
            answer.arrived.wait(patience.timeout_seconds)
    finally:
        server.shutdown()
    return [
        replace(one, committed=answer.said(one.parcel)) if one.state == "stored" else one
        for one in deliveries
    ]


class _Answer:
    """What the PACS says of a transaction, whenever and wherever it says it."""

    def __init__(self, transaction: UID) -> None:
        self.transaction = transaction
        self.arrived = threading.Event()
        self._kept: set[str] = set()
        self._lost: set[str] = set()

    def hear(self, event: Event) -> tuple[int, None]:
        """Take an N-EVENT-REPORT; one of another transaction is none of ours."""
        said = event.event_information
        if said.get("TransactionUID") == self.transaction:
            self._kept |= _instances(said, "ReferencedSOPSequence")
            self._lost |= _instances(said, "FailedSOPSequence")
            self.arrived.set()
        return SUCCESS, None

    def said(self, one: Parcel) -> bool | None:
        """Whether a parcel is kept; None where nothing was said of it."""
        if one.instance in self._lost:
            return False
        return True if one.instance in self._kept else None


def _instances(said: Dataset, keyword: str) -> set[str]:
    return {str(item.ReferencedSOPInstanceUID) for item in said.get(keyword, [])}


def _ask_to_commit(stored: Sequence[Parcel], node: Node, caller: Caller, answer: _Answer) -> bool:
    """Send the request; whether the PACS will look into it."""
    request = Dataset()
    request.TransactionUID = answer.transaction
    request.ReferencedSOPSequence = []
    for one in stored:
        item = Dataset()
        item.ReferencedSOPClassUID = one.sop_class
        item.ReferencedSOPInstanceUID = one.instance
        request.ReferencedSOPSequence.append(item)
    contexts = [build_context(StorageCommitmentPushModel)]
    handlers = [(evt.EVT_N_EVENT_REPORT, answer.hear)]
    with associated(node, caller, contexts, handlers=handlers) as association:
        if association is None:
            return False
        try:
            status, _ = association.send_n_action(
                request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except ValueError:  # the PACS took the association and not the service
            return False
        return bool(status.get("Status", -1) == SUCCESS)


def _sent(before: Delivery, association: Association | None) -> Delivery:
    """Try one parcel once."""
    tried = replace(before, attempts=before.attempts + 1)
    if association is None or not association.is_established:  # it may break at any object
        return tried
    try:
        status = association.send_c_store(before.parcel.path).get("Status")
    except ValueError:
        # No presentation context: the PACS does not take this kind of object, or its encoding.
        logger.info("the PACS does not take %s", before.parcel.sop_class.name)
        return replace(tried, state="refused")
    except (OSError, RuntimeError):
        return tried
    return replace(tried, state=_state(status), status=status)


def _state(status: int | None) -> State:
    if status == SUCCESS or status in WARNINGS:
        return "stored"
    passing = status is None or status in PASSING or status >> 8 == PASSING[-1] >> 8
    return "unreachable" if passing else "refused"
