"""Whether a change of a file's geometry could be told from the file itself, read without medseg."""

import gzip
from pathlib import Path

import numpy as np
import pydicom
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from medseg.ingest.inspection import InspectedSeries

SPACING_SHARE = 0.01
"""Relative difference of two stated spacings that is a contradiction, as in `nifti_header`."""


def changed(before: Path, after: Path, accepted: InspectedSeries) -> str:
    """Why the changed geometry contradicts nothing; empty where it does, and had to be refused."""
    fields = _nifti_fields(after)
    if fields is not None:
        return _nifti_reason(_nifti_fields(before), fields, accepted)
    return _dicom_reason(before, after, accepted)


def _nifti_fields(path: Path) -> Nifti1Header | None:
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError):
        return None
    for size, kind in ((348, Nifti1Header), (540, Nifti2Header)):
        for order in ("<", ">"):
            if content[:4] == np.array(size, order + "i4").tobytes() and len(content) >= size:
                return kind(content[:size], endianness=order, check=False)
    return None


def _nifti_reason(old: Nifti1Header | None, new: Nifti1Header, accepted: InspectedSeries) -> str:
    """A form that stands alone can only be held against `pixdim`."""
    if old is None or not np.array_equal(old["dim"][1:4], new["dim"][1:4]):
        return ""
    sform_code, qform_code = int(new["sform_code"]), int(new["qform_code"])
    if sform_code and qform_code and sform_code != qform_code:
        is_flagged = any(flag.code == "two-spaces" for flag in accepted.flags)
        return "two forms for two spaces differ, flagged" if is_flagged else ""
    if sform_code and qform_code:
        return ""
    if sform_code:
        steps = np.linalg.norm(new.get_sform()[:3, :3], axis=0)
        differs = (np.abs(steps / new["pixdim"][1:4] - 1) > 2 * SPACING_SHARE).any()
        return "" if differs else "the sform stands alone and keeps its spacing"
    return "the qform stands alone, its spacing is pixdim"


def _dicom_reason(before: Path, after: Path, accepted: InspectedSeries) -> str:
    """What one object states for all its frames stands alone."""
    old, new = (pydicom.dcmread(path, force=True) for path in (before, after))
    frames = int(new.get("NumberOfFrames") or 1)
    if frames < 2 or accepted.slices != frames or old.get("NumberOfFrames") != frames:
        return ""
    return "shared attributes of one enhanced object"
