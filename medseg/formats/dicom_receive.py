"""The door from scanners and archives: a DICOM Storage SCP (PS3.4 annex B), and MPPS (annex F).

The bytes of a data set are written as they came: nothing is decoded, and no transfer syntax is
converted. Of their content only the UIDs are read that say where it belongs. Nothing that is logged
names a patient.
"""

import logging
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, DeflatedExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE, DimsePrimitiveType
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    ModalityPerformedProcedureStep,
    Verification,
)

from medseg.formats.dicom_association import SUCCESS, configured
from medseg.formats.dicom_values import READING_FAULTS
from medseg.formats.storage import fault_name

logger = logging.getLogger(__name__)

OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
CONFLICT = 0xC001
"""Statuses of C-STORE (PS3.4 table B.2-1); the last is of the range that an SCP may choose from."""

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
COUNTS = (
    "NumberOfStudyRelatedInstances",
    "NumberOfSeriesRelatedInstances",
    "NumberOfSlices",  # of PET (PS3.3 C.8.9.1)
    "NumberOfTimeSlices",
)
WANTED = tuple(sorted(tag_for_keyword(name) or 0 for name in (*UIDS, *COUNTS)))

MOST_EXPECTED = 100_000
"""A larger count is no count."""

MOST_STEPS = 10_000
"""Procedure steps that may be open at once."""

OURS = str(PYDICOM_IMPLEMENTATION_UID)
"""Implementation that writes the files."""

MOST_HEADER_BYTES = 2**22
"""Of a deflated data set, that are unpacked to find its UIDs."""

PDU_BYTES = 2**20
"""Largest message that is asked for, and twice that is read; the larger, the fewer turns a slice of
half a MiB takes."""

GREETING_SECONDS = 5
"""Within which a connection must ask for an association; one that does not holds a place till then.
"""

TURN_SECONDS = 0.0002
"""Between two looks at an association. pynetdicom waits five times as long, three times a slice: a
quarter of the time that a slice takes. A silent association costs a tenth of a core."""

READ_BYTES = 2**18
"""That are read from the network at once; pynetdicom reads 4 KiB, in 128 turns a slice."""


@dataclass(frozen=True)
class Header:
    """Where a data set belongs.

    Attributes:
        study, series, instance: Its UIDs.
        expected_in_study, expected_in_series: How many there are, where the data set says so.
    """

    study: str
    series: str
    instance: str
    expected_in_study: int | None
    expected_in_series: int | None


class NotUnderstoodError(ValueError):
    """A data set does not say where it belongs."""


class ConflictError(ValueError):
    """Another data set has the same SOP Instance UID."""


@dataclass(frozen=True)
class Listening:
    """Where and to whom the receiver listens.

    Attributes:
        host, port: Its address; port 0 takes any that is free.
        title: Its application entity title.
        called: Whether a sender must call it by its title.
        calling: Titles that may send; empty lets any.
        tls: Certificates; None receives in clear.
        most_at_once: Associations at the same time.
        idle_seconds: After which a silent sender is hung up on.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    title: str = "MEDSEG"
    called: bool = False
    calling: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    most_at_once: int = 20
    idle_seconds: float = 60


Keep = Callable[[bytes, bytes, Header], None]
"""Keeps a data set: what stands before it in a file, its bytes, and where it belongs.

Raises:
    ConflictError: Another has the same SOP Instance UID.
    OSError: It cannot be written.
"""

Performed = Callable[[str, int], None]
"""Told the UID of a study, and how many images a modality says that it made of it."""


@dataclass
class Steps:
    """Performed procedure steps that began and have not ended: MPPS UID to the UID of the study."""

    studies: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def receiving(listening: Listening, keep: Keep, performed: Performed) -> Iterator[int]:
    """Receive for as long as the block lasts.

    Yields:
        The port.

    Raises:
        OSError: The address is taken, or not of this machine.
    """
    entity = AE(ae_title=listening.title)
    entity.maximum_pdu_size = PDU_BYTES
    entity.maximum_associations = listening.most_at_once
    entity.network_timeout = listening.idle_seconds
    entity.dimse_timeout = listening.idle_seconds
    entity.acse_timeout = min(GREETING_SECONDS, listening.idle_seconds)
    entity.require_called_aet = listening.called
    entity.require_calling_aet = list(listening.calling)
    entity.add_supported_context(Verification)
    entity.add_supported_context(ModalityPerformedProcedureStep)
    steps = Steps()
    # Any storage class, in the transfer syntax that its sender likes best.
    with configured(UNRESTRICTED_STORAGE_SERVICE=True):
        server = entity.start_server(
            (listening.host, listening.port),
            block=False,
            ssl_context=listening.tls,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _begin, [listening.idle_seconds]),
                (evt.EVT_ESTABLISHED, _hasten),
                (evt.EVT_C_STORE, store, [keep]),
                (evt.EVT_N_CREATE, _step_begins, [steps]),
                (evt.EVT_N_SET, _step_ends, [steps, performed]),
            ],
        )
        if server is None:
            raise TypeError("a server that does not block")
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            entity.shutdown()


def read_header(data: bytes, syntax: UID, instance: str) -> Header:
    """Read where a data set belongs, and no further than that stands in it.

    Args:
        data: The data set, without what stands before it in a file.
        syntax: Its transfer syntax.
        instance: SOP Instance UID by which it was announced.

    Raises:
        NotUnderstoodError: It does not say so, or is not what was announced.
    """
    if syntax == DeflatedExplicitVRLittleEndian:
        data = _inflated(data)
    try:
        found = read_dataset(
            BytesIO(data),
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, *_: tag > WANTED[-1],
            specific_tags=list(WANTED),
        )
        uids = [str(found[name].value) for name in UIDS]
        in_study, in_series, slices, times = (_number(found, name) for name in COUNTS)
    except READING_FAULTS:
        raise NotUnderstoodError from None
    if not all(uids) or uids[2] != instance:
        raise NotUnderstoodError
    if in_series is None and slices is not None:
        in_series = slices * (times or 1)
    return Header(uids[0], uids[1], uids[2], in_study, in_series)


def _number(found: Dataset, name: str) -> int | None:
    value = found.get(name)
    return int(value) if value is not None and 0 < int(value) < MOST_EXPECTED else None


def _inflated(data: bytes) -> bytes:
    """The beginning of a deflated data set: a bomb is never unpacked whole."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MOST_HEADER_BYTES)
    except zlib.error:
        raise NotUnderstoodError from None


def file_beginning(sop_class: str, instance: str, syntax: str) -> bytes:
    """What stands before a data set in a file: preamble and file meta information (PS3.10 7.1).

    Written here and not by pydicom, which takes a fifth of the time that a slice has.

    Args:
        sop_class: Its SOP Class UID.
        instance: Its SOP Instance UID.
        syntax: Its transfer syntax.
    """
    uids = ((0x0002, sop_class), (0x0003, instance), (0x0010, syntax), (0x0012, OURS))
    elements = [struct.pack("<HH2sHI2s", 2, 1, b"OB", 0, 2, b"\0\1")]
    for number, uid in uids:
        value = _uid(uid)
        elements.append(struct.pack("<HH2sH", 2, number, b"UI", len(value)) + value)
    group = b"".join(elements)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group))
    return bytes(128) + b"DICM" + length + group


def _hasten(event: Event) -> None:
    """Look at an association often, and answer quickly: it is about to send."""
    event.assoc.dul._run_loop_delay = TURN_SECONDS  # noqa: SLF001  it has no other setting
    dimse = event.assoc.dimse
    in_full = dimse.send_msg

    def send_msg(primitive: DimsePrimitiveType, context_id: int) -> None:
        if isinstance(primitive, C_STORE) and primitive.Status == SUCCESS:
            answer = P_DATA()
            answer.presentation_data_value_list.append((context_id, stored(primitive)))
            dimse.dul.send_pdu(answer)
        else:
            in_full(primitive, context_id)

    dimse.send_msg = send_msg  # type: ignore[method-assign]


def stored(request: C_STORE) -> bytes:
    """The message that a data set was stored (PS3.7 9.3.1.2), whole and in one piece.

    Written here and not by pynetdicom, which takes a quarter of the time that a slice has.

    Args:
        request: What is answered, with its status.
    """
    values = (
        (0x0002, _uid(str(request.AffectedSOPClassUID))),
        (0x0100, struct.pack("<H", 0x8001)),  # C-STORE-RSP
        (0x0120, struct.pack("<H", request.MessageIDBeingRespondedTo)),
        (0x0800, struct.pack("<H", 0x0101)),  # no data set follows
        (0x0900, struct.pack("<H", SUCCESS)),
        (0x1000, _uid(str(request.AffectedSOPInstanceUID))),
    )
    group = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in values)
    length = struct.pack("<HHII", 0, 0, 4, len(group))
    return b"\x03" + length + group  # the last, and only, part of a command (PS3.8 E.2)


def _uid(text: str) -> bytes:
    value = text.encode("ascii")
    return value + b"\0" * (len(value) % 2)


def _begin(event: Event, idle_seconds: float) -> None:
    """Wait for no message for ever, and read large pieces but no more than a message may have."""
    connection = event.assoc.dul.socket
    if connection is None:
        return
    if connection.socket is not None:
        # Without it, one who stops within a message holds a place for ever.
        connection.socket.settimeout(idle_seconds)

    def recv(nr_bytes: int) -> bytearray:
        found = bytearray()
        # A sender may claim up to 4 GiB: it is hung up on as if it had gone.
        while connection.socket is not None and len(found) < nr_bytes <= 2 * PDU_BYTES:
            piece = connection.socket.recv(min(READ_BYTES, nr_bytes - len(found)))
            if not piece:
                break
            found += piece
        return found

    connection.recv = recv  # type: ignore[method-assign]


def store(event: Event, keep: Keep) -> int:
    """Answer C-STORE: success only when the data set is kept."""
    data = event.encoded_dataset(include_meta=False)
    sop_class, instance = (
        str(getattr(event.request, f"AffectedSOP{part}UID", None) or "")
        for part in ("Class", "Instance")
    )
    syntax = event.context.transfer_syntax
    try:
        header = read_header(data, UID(syntax), instance)
        keep(file_beginning(sop_class, instance, syntax), data, header)
    except NotUnderstoodError:
        logger.warning("a data set does not say where it belongs, and was not taken")
        return CANNOT_UNDERSTAND
    except ConflictError:
        logger.warning("a data set differs from one of the same UID, and was not taken")
        return CONFLICT
    except OSError as error:
        logger.error("a data set could not be written (%s), and was not taken", fault_name(error))  # noqa: TRY400
        return OUT_OF_RESOURCES
    return SUCCESS


def _step_begins(event: Event, steps: Steps) -> tuple[int, Dataset]:
    """Answer N-CREATE of MPPS: note of which study the step is."""
    attributes = event.attribute_list
    uid = str(getattr(event.request, "AffectedSOPInstanceUID", None) or "")
    scheduled = attributes.get("ScheduledStepAttributesSequence") or [Dataset()]
    study = str(scheduled[0].get("StudyInstanceUID", ""))
    with steps.lock:
        if uid and study and len(steps.studies) < MOST_STEPS:
            steps.studies[uid] = study
    return SUCCESS, attributes


def _step_ends(event: Event, steps: Steps, performed: Performed) -> tuple[int, Dataset]:
    """Answer N-SET of MPPS: a step that was completed says which images it made."""
    changes = event.modification_list
    uid = str(getattr(event.request, "RequestedSOPInstanceUID", None) or "")
    state = str(changes.get("PerformedProcedureStepStatus", ""))
    images = sum(
        len(series.get(name) or ())
        for series in changes.get("PerformedSeriesSequence") or ()
        for name in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
    )
    with steps.lock:
        study = steps.studies.get(uid)
        if state in {"COMPLETED", "DISCONTINUED"}:
            steps.studies.pop(uid, None)
    if study is not None and state == "COMPLETED" and images:
        performed(study, images)
    return SUCCESS, changes
