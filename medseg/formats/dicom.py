"""The door to DICOM: the headers of files, and which of them belong together.

Every file is asked, whatever its name. Nothing here decides whether a series is a volume: that is
`dicom_stack`; `dicom_pixels` reads the voxels.
"""

import io
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from medseg.errors import UnreadableFileError
from medseg.formats.dicom_encoding import LOSSY_SYNTAXES, Encoding, Place, encoding_of, find_pixels
from medseg.formats.dicom_frames import Frame, frames_of
from medseg.formats.dicom_suv import PetTags, pet_tags
from medseg.formats.dicom_traits import Traits, traits_of
from medseg.formats.dicom_values import (
    READING_FAULTS,
    MalformedValueError,
    integer,
    quiet,
    text,
    texts,
    value,
)
from medseg.formats.storage import PASSING_WHILE_READ, storage_fault

VOLUME_KINDS = {
    CTImageStorage: "CT",
    EnhancedCTImageStorage: "CT",
    LegacyConvertedEnhancedCTImageStorage: "CT",
    MRImageStorage: "MR",
    EnhancedMRImageStorage: "MR",
    LegacyConvertedEnhancedMRImageStorage: "MR",
    PositronEmissionTomographyImageStorage: "PT",
    EnhancedPETImageStorage: "PT",
    LegacyConvertedEnhancedPETImageStorage: "PT",
}
"""Storage classes whose objects are slices of a volume, and its modality."""

VOLUME_MODALITIES = set(VOLUME_KINDS.values())

MODALITIES = {
    *VOLUME_MODALITIES, "AR", "AU", "BI", "BMD", "CR", "CTPROTOCOL", "DG", "DOC", "DX", "ECG",
    "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IVUS", "KO", "LS", "M3D", "MG", "NM", "OAM", "OCT",
    "OP", "OPT", "OT", "PLAN", "PR", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN",
    "RTRECORD", "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR", "STAIN", "TG", "US", "VA", "XA",
    "XC",
}  # fmt: skip
"""Terms of PS3.3 C.7.3.1.1.1. A modality is shown, so that no other text may stand for one."""

HEAD = 2**14
"""Bytes of a file that are read at once: the headers of most slices take less."""

INFLATED_FREE = 2**26
INFLATED_RATIO = 64
"""A deflated file may become 64 MiB, or 64 times its size: a bomb is told before it is unpacked.
Images deflate two to four times, and a mask is no volume."""

UID_ROOT = b"1.2.840.10008."
"""Of every transfer syntax and storage class."""

NIFTI_SIZES = (b"\x5c\1\0\0", b"\0\0\1\x5c", b"\x1c\2\0\0", b"\0\0\2\x1c")
"""How a NIfTI file begins, which may hold a DICOM header as an extension."""

SEND_AGAIN = "Ask the archive to send the series again, then run the study again."


@dataclass(frozen=True, eq=False)
class DicomFile:
    """What the header of one file says.

    Attributes:
        path: The file.
        kind: Storage class in words; no text of the file's own.
        is_volume: Objects of this kind are slices of volumes.
        has_pixels: Pixel data follows the header.
        is_damaged: A value that the geometry or the intensities rest on cannot be read.
        series: What the files of one series share and no others do; never shown.
        series_number: The number that a PACS shows, or None.
        modality: Such as CT; empty where not stated.
        sop_instance_uid: From the dataset, else from the file's meta information, else empty.
        instance_number: The image number that a PACS shows, or None.
        frame_of_reference: UID, or None.
        rows, columns: Matrix; 0 where not stated.
        is_colour: More than one value per pixel, or a palette.
        has_modality_lut: Values come from a table in place of slope and intercept.
        is_burned_in: Text is burned into the pixels.
        pet: What a PET slice says of its intensities, None for other modalities.
        encoding: How its pixels are stored; None where the header is damaged.
        is_lossy: Pixels were compressed with a loss at some time.
        frames: Its slices; empty where the header is damaged.
        traits: How the image was made, for a choice between series.
    """

    path: Path
    kind: str
    is_volume: bool
    has_pixels: bool
    is_damaged: bool
    series: tuple[str, ...]
    series_number: int | None
    modality: str
    sop_instance_uid: str
    instance_number: int | None
    frame_of_reference: str | None
    rows: int
    columns: int
    is_colour: bool
    has_modality_lut: bool
    is_burned_in: bool
    pet: PetTags | None
    encoding: Encoding | None
    is_lossy: bool
    frames: tuple[Frame, ...]
    traits: Traits

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout, which holds no volume even beside slices that do."""
        return any("LOCALIZER" in frame.image_type for frame in self.frames)

    @property
    def is_unknown(self) -> bool:
        """Whether it holds no image and its storage class is none of DICOM's."""
        return not self.is_volume and not self.has_pixels and self.kind.endswith(" object")

    @property
    def is_lost_slice(self) -> bool:
        """Whether it is, or may be, a slice that was cut before it said of which series."""
        may_be = self.is_volume or self.is_unknown
        return may_be and not self.has_pixels and not self.series[0]


def read_file(path: Path) -> DicomFile | None:
    """Read the header of one file.

    Returns:
        None where the file is no DICOM.

    Raises:
        UnreadableFileError: It is DICOM, or could be, and cannot be opened or understood.
        ResourceError: The storage failed over it, or it is there no more.
    """
    try:
        with path.open("rb") as file, quiet():
            head = file.read(HEAD)
            start = head[:1024]
            if _is_packed(start):
                raise _unreadable()
            if not _looks_like_dicom(start):
                return None
            dataset, place = _header(file, head)
            found = _parsed(path, dataset, place)
            if not _says_what_it_is(dataset) or found.is_lost_slice:
                raise MalformedValueError
            return found
    except READING_FAULTS as error:
        # An OSError of pydicom's own has no number.
        if isinstance(error, OSError) and error.errno in PASSING_WHILE_READ:
            raise storage_fault() from None
        if isinstance(error, OSError) or _is_marked(start):
            raise _unreadable() from None
        return None


def _header(file: BinaryIO, head: bytes) -> tuple[FileDataset, Place | None]:
    """The dataset before the pixels, and their place.

    It is parsed from its first bytes alone where the pixels begin in them: pydicom asks for the
    position at every element, which of a file is a call of the system.
    """
    if DeflatedExplicitVRLittleEndian.encode() not in head[:1024]:
        # A sequence that the first bytes cut raises an OSError of pydicom's own.
        with suppress(*READING_FAULTS):
            copy = io.BytesIO(head)
            dataset = open_dataset(copy)
            place = find_pixels(copy, dataset)
            if place is not None:
                return dataset, place
    dataset = open_dataset(file)
    return dataset, find_pixels(file, dataset)


def open_dataset(file: BinaryIO) -> FileDataset:
    """Parse an open file up to its pixels, its preamble and meta information present or not.

    Raises:
        MalformedValueError: It inflates to more than a series can hold.
        Exception: One of PARSING_FAULTS.
    """
    _check_inflated_size(file)
    file.seek(0)
    dataset = dcmread(file, force=True, stop_before_pixels=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def group(files: Iterable[DicomFile]) -> tuple[tuple[DicomFile, ...], ...]:
    """The files of each series, in an order that no file name has a part in.

    A localizer that was stored with the slices it was made for becomes a series of its own.
    """
    found: dict[tuple[object, ...], list[DicomFile]] = {}
    for file in files:
        found.setdefault((file.series, file.is_localizer), []).append(file)
    ordered = sorted(
        found.items(),
        key=lambda entry: (
            min(file.series_number or 0 for file in entry[1]),
            entry[1][0].modality,
            entry[0],
        ),
    )
    return tuple(
        tuple(sorted(members, key=lambda file: (file.instance_number or 0, file.sop_instance_uid)))
        for _, members in ordered
    )


def _unreadable() -> UnreadableFileError:
    return UnreadableFileError(
        "A DICOM file is damaged, packed or cannot be opened, so a slice could be missing.",
        SEND_AGAIN,
    )


def _is_packed(start: bytes) -> bool:
    """Whether this is the beginning of a DICOM file inside gzip."""
    if start[:2] != b"\x1f\x8b":
        return False
    try:
        return _is_marked(zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(start, 1024))
    except zlib.error:
        return False


def _is_marked(start: bytes) -> bool:
    """Whether the preamble ends as it must, or the mark is damaged and the rest speaks for itself.

    Then what follows it begins so, or there are UIDs of DICOM's own between bytes that are no text.
    Zeros alone are a file that was cut in its preamble, or wiped.
    """
    if start[128:132] == b"DICM" or start[132:136] == b"\x02\0\0\0":
        return True
    if start and not any(start[:128]) and (not any(start) or b"DICM".startswith(start[128:])):
        return True
    return UID_ROOT in start and b"\0" in start and start[:4] not in NIFTI_SIZES


def _looks_like_dicom(start: bytes) -> bool:
    """By its mark, or without one by a first element of group 0002 or 0008."""
    if _is_marked(start):
        return True
    little = start[:1] in (b"\x02", b"\x08") and start[1:2] == b"\0" and start[3:4] == b"\0"
    big = start[:2] == b"\0\x08" and start[2:3] == b"\0"
    if not (little or big) or len(start) < 132:
        return False
    is_explicit = start[4:6].isalpha() and start[4:6].isupper()
    return is_explicit or (little and int.from_bytes(start[4:8], "little") <= 128)


def _check_inflated_size(file: BinaryIO) -> None:
    """Refuse a deflated file that becomes larger than any series is."""
    file.seek(0)
    start = file.read(1024)
    if DeflatedExplicitVRLittleEndian.encode() not in start:
        return
    most = max(INFLATED_FREE, INFLATED_RATIO * file.seek(0, io.SEEK_END))
    file.seek(144 + int.from_bytes(start[140:144], "little"))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size, waiting = 0, file.read(2**20)
    while waiting and size <= most:
        size += len(inflater.decompress(waiting, 2**24))
        waiting = inflater.unconsumed_tail or file.read(2**20)
    if size > most:
        raise MalformedValueError


def _parsed(path: Path, dataset: FileDataset, place: Place | None) -> DicomFile:
    kind = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")
    modality = text(dataset, "Modality").upper() or VOLUME_KINDS.get(UID(kind), "")
    if modality not in MODALITIES:
        modality = ""
    is_volume = kind in VOLUME_KINDS or (not kind and modality in VOLUME_MODALITIES)
    frames, pet, encoding = (
        _slices(dataset, place, modality) if is_volume and place is not None else ((), None, None)
    )
    return DicomFile(
        path=path,
        kind=_kind_name(kind, modality),
        is_volume=is_volume,
        has_pixels=place is not None,
        is_damaged=is_volume and not frames,
        series=_series(dataset, modality),
        series_number=_integer(dataset, "SeriesNumber"),
        modality=modality,
        sop_instance_uid=text(dataset, "SOPInstanceUID")
        or text(dataset.file_meta, "MediaStorageSOPInstanceUID"),
        instance_number=_integer(dataset, "InstanceNumber"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID") or None,
        rows=encoding.rows if encoding else 0,
        columns=encoding.columns if encoding else 0,
        is_colour=text(dataset, "PhotometricInterpretation").upper()
        not in ("MONOCHROME1", "MONOCHROME2"),
        has_modality_lut=value(dataset, "ModalityLUTSequence") not in (None, []),
        is_burned_in=texts(dataset, "BurnedInAnnotation") == ("YES",),
        pet=pet,
        encoding=encoding,
        is_lossy=text(dataset, "LossyImageCompression") == "01"
        or dataset.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES,
        frames=frames,
        traits=traits_of(dataset),
    )


def _says_what_it_is(dataset: FileDataset) -> bool:
    """Whether enough of the file is there to tell what it holds."""
    kind = text(dataset.file_meta, "MediaStorageSOPClassUID")
    names = ("SOPClassUID", "SeriesInstanceUID", "Rows")
    return any(name in dataset for name in names) or UID(kind).name != kind


def _kind_name(kind: str, modality: str) -> str:
    """The storage class in DICOM's words; a private one is never quoted."""
    name = UID(kind).name
    return name if name != kind else f"{modality or 'unknown'} object"


def _slices(
    dataset: FileDataset, place: Place, modality: str
) -> tuple[tuple[Frame, ...], PetTags | None, Encoding | None]:
    """Frames, PET tags and encoding; none of them where one of their values is damaged."""
    try:
        encoding = encoding_of(dataset, place)
        frames = frames_of(dataset) if min(encoding.rows, encoding.columns) > 0 else ()
        pet = pet_tags(dataset) if modality == "PT" else None
    except MalformedValueError:
        return (), None, None
    return frames, pet, encoding


def _series(dataset: Dataset, modality: str) -> tuple[str, ...]:
    """The Series Instance UID; where that is empty, what else tells series apart."""
    uid = text(dataset, "SeriesInstanceUID")
    if uid:
        return (uid,)
    names = ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber")
    return ("", modality, *(text(dataset, name) for name in names))


def _integer(dataset: Dataset, name: str) -> int | None:
    """A number that is shown and never computed with; None where absent or damaged."""
    try:
        return integer(dataset, name)
    except MalformedValueError:
        return None
