"""What lies at a path: DICOM series, NIfTI files, and what is left aside.

Every file is opened and told by its content; names, endings and folders mean nothing, except that a
file named like a NIfTI file claims to be one and is refused rather than left aside.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.study import QualityFlag
from medseg.errors import (
    InconsistentSeriesError,
    InputError,
    NotAnImageError,
    SourceNotFoundError,
    UnreadableFileError,
    UnsupportedImageError,
)
from medseg.formats import nifti, storage
from medseg.formats.dicom import SEND_AGAIN, DicomFile, group, read_file
from medseg.formats.dicom_fragments import MOST_SLICES, continues, is_fragment
from medseg.formats.dicom_values import quiet
from medseg.ingest.inspection import Ignored

MAX_FILES = 200_000
"""Bound for a folder that is not one study."""

NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
NO_IMAGE = "neither DICOM nor NIfTI"
EMPTY = "empty"


@dataclass(frozen=True, eq=False)
class FoundSeries:
    """One series, not yet judged.

    Attributes:
        number: Its number in the source, from 1: how messages name it.
        modality: DICOM modality; None for NIfTI, or where the series states none.
        content: The DICOM files of the series, or the NIfTI file.
        fault: What was found wrong with it already, or None.
        flags: Doubts about where it lies.
    """

    number: int
    modality: str | None
    content: tuple[DicomFile, ...] | Path
    fault: InputError | None = None
    flags: tuple[QualityFlag, ...] = ()

    @property
    def stored_bytes(self) -> int:
        """Size of its files on disk, both files of a NIfTI pair."""
        if isinstance(self.content, Path):
            return sum(path.stat().st_size for path in nifti.files_of(self.content))
        return sum(file.path.stat().st_size for file in self.content)


@dataclass(frozen=True, eq=False)
class Discovery:
    """Everything below a path.

    Attributes:
        series: In the order of their numbers.
        ignored: What is left aside, most files first.
    """

    series: tuple[FoundSeries, ...]
    ignored: tuple[Ignored, ...]


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Files by what they are."""

    dicom: list[DicomFile]
    nifti: list[Path]
    damaged: list[Path]
    unknown: list[DicomFile]
    damaged_dicom: list[DicomFile]
    empty: list[Path]
    ignored: Counter[str]


Watch = Callable[[int, Path], None]
"""Told the number of a file, from 0 in a fixed order, and the file, before it is opened."""


def unwatched(number: int, path: Path) -> None:
    """Nobody is told."""


def discover(
    source: Path, watch: Watch = unwatched, avoid: Collection[int] = frozenset()
) -> Discovery:
    """Find the series in a file or anywhere below a folder.

    Args:
        source: The file or the folder.
        watch: Told of every file before it is opened.
        avoid: Numbers of files that are taken to be damaged and not opened: a reader fell over
            them before.

    Raises:
        SourceNotFoundError: There is nothing at the path, or it cannot be listed.
        ResourceError: The storage failed.
        UnsupportedImageError: The folder holds far more files than a study.
    """
    found = _Sorted([], [], [], [], [], [], Counter())
    with quiet():
        for count, path in enumerate(_files(source)):
            if count >= MAX_FILES:
                raise UnsupportedImageError(
                    f"The folder holds more than {MAX_FILES} files, so it is not one study.",
                    "Give the folder of one study.",
                )
            watch(count, path)
            if count in avoid:
                found.damaged.append(path)
            else:
                _sort(path, found)
    groups = group(found.dicom)
    fragments = [files for files in groups if is_fragment(files)]
    found.damaged_dicom.extend(file for files in groups for file in _strays(files))
    contents: list[tuple[str | None, tuple[DicomFile, ...] | Path, InputError | None]] = [
        (files[0].modality or None, files, _fault(files, found) or _torn(files, fragments))
        for files in groups
    ]
    contents += [(None, path, None) for path in found.nifti]
    if not contents and source.is_file():
        contents = [(None, source, _no_image(found))]
    series = tuple(
        FoundSeries(number, *content, _doubts(content[1], found))
        for number, content in enumerate(contents, 1)
    )
    if found.damaged:
        found.ignored["damaged or packed DICOM files"] += len(found.damaged)
    return Discovery(series, tuple(Ignored(*entry) for entry in found.ignored.most_common()))


def _files(source: Path) -> Iterator[Path]:
    """The file, or every file below the folder in a fixed order.

    Of a NIfTI pair, either file stands for both.
    """
    if source.is_file():
        yield nifti.header_half(source) or source
        return
    if not source.is_dir() or not os.access(source, os.R_OK | os.X_OK):
        raise SourceNotFoundError(
            "There is nothing at the given path that can be opened.",
            "Check the path and whether you may read it.",
        )
    yield from storage.files_below(source)


def _sort(path: Path, found: _Sorted) -> None:
    """Put one file to its like."""
    try:
        file = read_file(path)
    except UnreadableFileError:
        found.damaged.append(path)
        return
    if file is not None and (file.has_pixels or file.is_volume):
        found.dicom.append(file)
    elif file is not None:
        if file.is_unknown:
            found.unknown.append(file)
        found.ignored[f"{file.kind}: holds no image"] += 1
    elif nifti.header_half(path) is not None:
        found.ignored["voxels of a NIfTI pair, read with their header"] += 1
    elif path.name.lower().endswith(NIFTI_ENDINGS) or nifti.is_nifti(path):
        found.nifti.append(path)
    elif not path.stat().st_size:
        found.empty.append(path)
        found.ignored[EMPTY] += 1
    else:
        found.ignored[NO_IMAGE] += 1


def _fault(files: tuple[DicomFile, ...], found: _Sorted) -> InputError | None:
    """A damaged DICOM file in the folder of a series may be one of its slices.

    So may an object of no known kind that names the series as its own, and one there that lost
    more than the name of its series.
    """
    folders = {file.path.parent for file in files}
    own = set(files)
    count = sum(path.parent in folders for path in found.damaged)
    count += sum(file.series == files[0].series for file in found.unknown)
    count += sum(file.path.parent in folders and file not in own for file in found.damaged_dicom)
    if not count:
        return None
    return UnreadableFileError(
        f"The series lies beside damaged DICOM files ({count}); if they are slices of it, the "
        "volume without them would be wrong.",
        f"{SEND_AGAIN} Unpack files that are packed; if the damaged ones belong to something else, "
        "move them away.",
    )


def _doubts(content: tuple[DicomFile, ...] | Path, found: _Sorted) -> tuple[QualityFlag, ...]:
    """An empty file beside the slices of a series may have been one of them."""
    folders = set() if isinstance(content, Path) else {file.path.parent for file in content}
    count = sum(path.parent in folders for path in found.empty)
    if not count:
        return ()
    message = (
        f"Empty files lie beside the series ({count}); if they were its slices, an end of the "
        "volume is missing."
    )
    return (QualityFlag("empty-files", message),)


def _strays(files: tuple[DicomFile, ...]) -> list[DicomFile]:
    """Damaged slices that are a series by themselves, so that their series is not known either."""
    if len(files) > MOST_SLICES:
        return []
    return [file for file in files if file.is_volume and (file.is_damaged or not file.has_pixels)]


def _torn(
    files: tuple[DicomFile, ...], fragments: Sequence[tuple[DicomFile, ...]]
) -> InputError | None:
    """Slices that continue a series under another name are its lost ends."""
    if not any(continues(files, fragment) for fragment in fragments if fragment is not files):
        return None
    return InconsistentSeriesError(
        "A slice that continues the series is said to be of another series or frame of reference; "
        "the volume without it would be too short.",
        f"{SEND_AGAIN} If the slice belongs to something else, move it away.",
    )


def _no_image(found: _Sorted) -> InputError:
    """Why a file that was given by itself holds no series."""
    if found.damaged:
        return UnreadableFileError(
            "The DICOM file is damaged, packed or cannot be opened, so nothing in it can be used.",
            f"{SEND_AGAIN} Unpack it first if it is packed.",
        )
    kind = next(iter(found.ignored))
    what = {NO_IMAGE: "is neither a DICOM nor a NIfTI file", EMPTY: "is empty"}
    return NotAnImageError(
        f"The file {what.get(kind, f'is a {kind}')}, so there is nothing to delineate in it.",
        "Give a folder of DICOM files, a NIfTI file, or a folder of NIfTI files.",
    )
