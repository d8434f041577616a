"""The name of every file that a run writes, and how a run folder appears: whole or not at all."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg import manifest
from medseg.errors import ResourceError, RunFolderError
from medseg.formats.storage import PASSING, storage_fault

RUN_RECORD = "run.json"
LESIONS = "lesions.nii.gz"
ORGANS = "organs.nii.gz"
TABLE_CSV = "instances.csv"
TABLE_JSON = "instances.json"
TABLE_PARQUET = "instances.parquet"
FHIR = "fhir.json"
REPORT_HTML = "report.html"
REPORT_PDF = "report.pdf"
DICOM = "dicom"
"""Folder of the objects for a PACS: they name the patient, as nothing else in a run folder does."""
DICOM_LESIONS = "dicom/segmentation.dcm"
DICOM_ORGANS = "dicom/organs.dcm"
DICOM_MEASUREMENTS = "dicom/measurements.dcm"
DICOM_STRUCTURES = "dicom/structures.dcm"
DICOM_REPORT = "dicom/report.dcm"

PHANTOM_STUDY = "phantom/study"
"""Of a demo only: the DICOM files that it made."""
PHANTOM_TRUTH = "phantom/lesions.nii.gz"
"""Of a demo only: the lesions that are really there."""
PHANTOM_SCORES = "phantom/scores.json"
"""Of a demo only: how many of them were found."""

STAGES = "stages"
"""Folder of what one stage hands to the next; removed before the run folder is published."""


@contextmanager
def staged(run: Path, fingerprint: str = "") -> Iterator[Path]:
    """Give a new hidden folder beside `run`, and rename it to `run` if the block succeeds.

    Whatever the block raises, nothing is left behind, parents made for it included.

    Args:
        run: The run folder to be; must not exist. Missing parents are made.
        fingerprint: Content hash of what the run is made from, for its manifest.

    Raises:
        RunFolderError: Something is there already, or its parent cannot be written.
        ResourceError: The disk or the memory was full.
    """
    run = run.absolute()
    staging, made = _begin(run)
    try:
        with machine_faults():
            yield staging
            _publish(staging, run, fingerprint)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in reversed(made):
            _remove_if_empty(folder)
        raise


@contextmanager
def machine_faults() -> Iterator[None]:
    """Raise what says that the machine is at fault as the error that is retried.

    Raises:
        ResourceError: The disk or the memory was full, or the storage failed.
    """
    try:
        yield
    except MemoryError:
        raise _out_of_memory() from None
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise _out_of_memory() from None
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _disk_full() from None
        if error.errno in PASSING:
            raise storage_fault() from None
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a new file's place beside `path`, and rename it to `path` if the block succeeds.

    Raises:
        RunFolderError: The file cannot be written there.
        ResourceError: The disk was full.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with machine_faults():
            yield beside
            beside.replace(path)
    except OSError:
        raise RunFolderError(
            "The file cannot be written there, so nothing was written.",
            "Check that its folder exists and that you may write to it.",
        ) from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _out_of_memory() -> ResourceError:
    return ResourceError(
        "The machine ran out of memory, so nothing was written.",
        "Close other programs or use a machine with more memory, then run again.",
    )


def _disk_full() -> ResourceError:
    return ResourceError(
        "The disk is full, so nothing was written.", "Free space on it, then run again."
    )


def _begin(run: Path) -> tuple[Path, list[Path]]:
    """Make the staging folder, and the parents that it needs: those that were not there."""
    try:
        if run.exists() or run.is_symlink():
            raise RunFolderError(
                "The run folder exists already, and a run never overwrites another.",
                "Give a new folder, or remove the old one first.",
            )
        made = _make_parents(run.parent)
        staging = Path(tempfile.mkdtemp(prefix=".medseg-", dir=run.parent))
        (staging / STAGES).mkdir()
    except OSError:
        raise RunFolderError(
            "The run folder cannot be made there, so nothing was run.",
            "Check that its parent is a folder that you may write to, with room on its disk.",
        ) from None
    return staging, made


def _publish(staging: Path, run: Path, fingerprint: str) -> None:
    """Make the staging folder the run folder, readable as the user's umask says."""
    shutil.rmtree(staging / STAGES)
    manifest.write(staging, fingerprint)
    plain = run.parent / f"{staging.name}-mode"
    plain.mkdir()
    mode = plain.stat().st_mode
    plain.rmdir()
    staging.chmod(mode)
    if run.exists():
        raise RunFolderError(
            "Another run made the same run folder meanwhile, so this one was dropped.",
            "Give each run a folder of its own.",
        )
    staging.rename(run)


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and its parents; return those that were not there, outermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
