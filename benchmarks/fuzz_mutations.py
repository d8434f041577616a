"""Ways to damage a file of a study, each drawn from a generator, so that a seed names an input."""

import gzip
import io
import warnings
from collections.abc import Callable

import numpy as np
import pydicom
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

HEADER_BYTES = 4096
"""Where most of what decides lies; half of the flips go there."""

NIFTI_VALUES = (0, 1, 2, 3, 4, 5, 7, -1, 255, 32767, -32768, 1e-3, 0.5, 3.7, -2.5, 1e30, np.nan)

DICOM_EDITS: dict[str, tuple[object, ...]] = {
    "BitsAllocated": (0, 1, 8, 12, 32, 64, 65535),
    "BitsStored": (0, 1, 17, 65535),
    "Columns": (0, 1, 7, 65535),
    "EchoTime": ("-1", "17", "1e400", "x"),
    "FrameOfReferenceUID": ("", "1.2.3", "x"),
    "HighBit": (0, 31, 65535),
    "ImageOrientationPatient": (
        None, ["1"], ["1", "0", "0", "0", "1", "0"], ["0"] * 6, ["-1", "0", "0", "0", "1", "0"],
        ["nan"] * 6, ["1e99"] * 6,
    ),
    "ImagePositionPatient": (
        None, ["0", "0", "0"], ["1e9", "0", "0"], ["nan", "0", "0"], ["0", "0"], ["", "", ""],
    ),
    "ImageType": (None, ["DERIVED", "SECONDARY"], ["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "InstanceNumber": ("-5", "99999999999", "x"),
    "Modality": ("", "CT", "MR", "PT", "SEG", "x" * 4000),
    "NumberOfFrames": ("0", "1", "2", "-3", "2147483647", "x"),
    "PhotometricInterpretation": ("RGB", "MONOCHROME1", "PALETTE COLOR", ""),
    "PixelRepresentation": (0, 1, 2),
    "PixelSpacing": (
        None, ["0", "0"], ["-1", "1"], ["1"], ["1e-9", "1"], ["inf", "1"], ["2.0", "3.0"],
    ),
    "PlanarConfiguration": (1, 7),
    "RescaleIntercept": ("1e308", "nan", "x"),
    "RescaleSlope": ("0", "-1", "1e308", "nan", "x"),
    "Rows": (0, 1, 7, 65535),
    "SOPClassUID": ("", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4", "x"),
    "SOPInstanceUID": ("", "1.2.3"),
    "SamplesPerPixel": (0, 3, 4, 65535),
    "SeriesInstanceUID": ("", "1.2.3"),
    "SliceThickness": ("0", "-1", "1e400"),
    "TransferSyntaxUID": (
        "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.50", "x",
    ),
}  # fmt: skip
"""Values that are wrong, extreme or another's, for tags that geometry and voxels rest on."""


def mutate(content: bytes, chance: np.random.Generator) -> tuple[str, bytes]:
    """Damage the content of one file.

    Returns:
        What was done, in a word, and the new content.
    """
    if content[:2] == b"\x1f\x8b" and chance.random() < 0.7:
        try:
            plain = gzip.decompress(content)
        except (OSError, EOFError):
            return _damage(content, chance)
        word, changed = mutate(plain, chance)
        return f"{word} inside gzip", gzip.compress(changed, 1, mtime=0)
    if chance.random() < 0.4:
        edited = _edit_nifti(content, chance) or _edit_dicom(content, chance)
        if edited is not None:
            return "tag edit", edited
    return _damage(content, chance)


def _damage(content: bytes, chance: np.random.Generator) -> tuple[str, bytes]:
    """Change bytes, whatever they mean."""
    words = tuple(DAMAGES)
    word = words[int(chance.choice(len(words), p=(0.5, 0.2, 0.08, 0.08, 0.08, 0.06)))]
    return word, DAMAGES[word](content, chance)


def _place(content: bytes, chance: np.random.Generator) -> int:
    near = chance.random() < 0.6
    return int(chance.integers(max(1, min(len(content), HEADER_BYTES) if near else len(content))))


def _flip(content: bytes, chance: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(chance.integers(1, 9)) if changed else 0):
        changed[_place(content, chance)] ^= 1 << int(chance.integers(8))
    return bytes(changed)


def _cut(content: bytes, chance: np.random.Generator) -> bytes:
    if chance.random() < 0.3:
        return content[: -int(chance.integers(1, 64))]
    return content[: _place(content, chance)]


def _blank(content: bytes, chance: np.random.Generator) -> bytes:
    start, count = _place(content, chance), int(chance.integers(1, 300))
    fill = int(chance.choice([0, 255]))
    return content[:start] + bytes([fill]) * len(content[start : start + count]) + content[
        start + count :
    ]  # fmt: skip


def _insert(content: bytes, chance: np.random.Generator) -> bytes:
    start = _place(content, chance)
    return content[:start] + chance.bytes(int(chance.integers(1, 200))) + content[start:]


def _remove(content: bytes, chance: np.random.Generator) -> bytes:
    start = _place(content, chance)
    return content[:start] + content[start + int(chance.integers(1, 200)) :]


def _repeat(content: bytes, chance: np.random.Generator) -> bytes:
    start, count = _place(content, chance), int(chance.integers(1, 5000))
    return content[: start + count] + content[start:]


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "flip": _flip,
    "cut": _cut,
    "blank": _blank,
    "insert": _insert,
    "remove": _remove,
    "repeat": _repeat,
}


def _edit_nifti(content: bytes, chance: np.random.Generator) -> bytes | None:
    """Set one number of a NIfTI header, its length and its byte order kept."""
    kind = {b"\x5c\x01": Nifti1Header, b"\x01\x5c": Nifti1Header, b"\x1c\x02": Nifti2Header}
    mark = content[:2] if content[:1] != b"\0" else content[2:4]
    if mark not in kind or len(content) < 540:
        return None
    header = kind[mark]
    size = header.template_dtype.itemsize
    fields = header(content[:size], endianness="<" if content[:1] != b"\0" else ">", check=False)
    raw = np.array(fields.structarr)
    names = [name for name in raw.dtype.names if raw.dtype[name].base.kind in "iuf"]
    name = names[int(chance.integers(len(names)))]
    entry = raw[name].reshape(-1)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = np.array(NIFTI_VALUES[int(chance.integers(len(NIFTI_VALUES)))])
        entry[int(chance.integers(entry.size))] = value.astype(entry.dtype)
    raw[name] = entry.reshape(raw[name].shape)
    return raw.tobytes() + content[size:]


def _edit_dicom(content: bytes, chance: np.random.Generator) -> bytes | None:
    """Set one value of a DICOM file, anywhere in its sequences."""
    if content[128:132] != b"DICM":
        return None
    names = tuple(DICOM_EDITS)
    name = names[int(chance.integers(len(names)))]
    value = DICOM_EDITS[name][int(chance.integers(len(DICOM_EDITS[name])))]
    out = io.BytesIO()
    before = pydicom_config.settings.reading_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content))
            if name == "TransferSyntaxUID":
                return content.replace(
                    dataset.file_meta.TransferSyntaxUID.encode().ljust(len(str(value)), b"\0"),
                    str(value).encode().ljust(len(dataset.file_meta.TransferSyntaxUID), b"\0"),
                    1,
                )
            holders = _holders(dataset, name) or [dataset]
            setattr(holders[int(chance.integers(len(holders)))], name, value)
            pydicom.dcmwrite(out, dataset, enforce_file_format=False)
    except Exception:  # noqa: BLE001  what pydicom refuses to write is no input
        return None
    finally:
        pydicom_config.settings.reading_validation_mode = before
        pydicom_config.settings.writing_validation_mode = pydicom_config.RAISE
    return out.getvalue()


def _holders(dataset: Dataset, name: str) -> list[Dataset]:
    """The dataset and every item below it that state the value."""
    found = [dataset] if name in dataset else []
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += _holders(item, name)
    return found
