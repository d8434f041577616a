"""Every export of a run folder, read back and held against what was measured."""

from collections.abc import Callable, Iterator
from pathlib import Path

from medseg import run_folder
from medseg.core.instances import InstanceMap
from medseg.errors import ExportMismatchError, MedsegError
from medseg.formats import dicom_read_back as read_back
from medseg.formats import tables
from medseg.formats.dicom_objects import ObjectRun
from medseg.verify import contours, files, objects
from medseg.verify.truth import MismatchError, Truth, check_rows, expect

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError)
"""What an export that is built otherwise than expected raises where it is parsed."""

Check = tuple[str, Callable[[], None]]
"""Name of an export, and what reads and compares it."""


def verify(work: Path, truth: Truth, run: ObjectRun | None) -> None:
    """Read every export of a run back and compare it.

    Args:
        work: The folder that holds the exports.
        truth: What they must say.
        run: What its DICOM objects share; None where there must be none.

    Raises:
        ExportMismatchError: An export is missing, cannot be read, or says something else.
    """
    for name, check in _checks(work, truth, run):
        try:
            check()
        except MismatchError as mismatch:
            raise _error(name, str(mismatch)) from None
        except (*UNREADABLE, MedsegError, read_back.UnreadableObjectError):
            raise _error(name, "it is missing or cannot be read") from None


def _error(name: str, what: str) -> ExportMismatchError:
    return ExportMismatchError(
        f"The export {name} was read back and is not what was measured ({what}), so nothing was "
        "published.",
        "This is a fault of medseg: report it with the kind of series and this message. The study "
        "itself is unharmed.",
    )


def _checks(work: Path, truth: Truth, run: ObjectRun | None) -> Iterator[Check]:
    yield run_folder.TABLE_JSON, lambda: _check_table(work, truth)
    for name, labelled in (
        (run_folder.LESIONS, truth.lesions),
        (run_folder.ORGANS, truth.organs),
    ):
        yield name, _labels_check(work / name, labelled)
    yield run_folder.TABLE_CSV, lambda: files.check_csv(work / run_folder.TABLE_CSV, truth.rows)
    parquet = work / run_folder.TABLE_PARQUET
    yield run_folder.TABLE_PARQUET, lambda: files.check_parquet(parquet, truth.rows)
    page = work / run_folder.REPORT_HTML
    yield run_folder.REPORT_HTML, lambda: files.check_page(page, truth.rows)
    fhir = work / run_folder.FHIR
    yield run_folder.FHIR, lambda: files.check_fhir(fhir, truth.rows)
    if run is not None:
        yield from _object_checks(work, truth, run)


def _labels_check(path: Path, labelled: InstanceMap) -> Callable[[], None]:
    return lambda: files.check_labels(path, labelled)


def _check_table(work: Path, truth: Truth) -> None:
    """The table on disk is the one that the others are held against, and it fits the voxels."""
    stored = tables.read_json(work / run_folder.TABLE_JSON)
    expect(stored == truth.rows, "it holds other rows")
    check_rows(truth)


def _object_checks(work: Path, truth: Truth, run: ObjectRun) -> Iterator[Check]:
    lesions, organs = truth.lesions, truth.organs
    if lesions.instances:
        path = work / run_folder.DICOM_LESIONS
        yield run_folder.DICOM_LESIONS, _segmentation_check(path, truth, lesions, run)
        yield run_folder.DICOM_MEASUREMENTS, lambda: _check_report(work, truth, run)
    if organs.instances:
        path = work / run_folder.DICOM_ORGANS
        yield run_folder.DICOM_ORGANS, _segmentation_check(path, truth, organs, run)
    if truth.rows:
        yield run_folder.DICOM_STRUCTURES, lambda: _check_structures(work, truth, run)
    if (work / run_folder.REPORT_PDF).exists():
        yield run_folder.DICOM_REPORT, lambda: _check_pdf(work, run)


def _segmentation_check(
    path: Path, truth: Truth, labelled: InstanceMap, run: ObjectRun
) -> Callable[[], None]:
    return lambda: objects.check_segmentation(
        read_back.read_segmentation(path), labelled, truth.rows_of(labelled), run
    )


def _check_report(work: Path, truth: Truth, run: ObjectRun) -> None:
    objects.check_report(
        read_back.read_report(work / run_folder.DICOM_MEASUREMENTS),
        read_back.read_segmentation(work / run_folder.DICOM_LESIONS),
        truth.rows_of(truth.lesions),
        truth.lesions.geometry,
        run,
    )


def _check_structures(work: Path, truth: Truth, run: ObjectRun) -> None:
    read = read_back.read_structures(work / run_folder.DICOM_STRUCTURES)
    contours.check_structures(read, (truth.lesions, truth.organs), truth.rows, run)


def _check_pdf(work: Path, run: ObjectRun) -> None:
    pdf = (work / run_folder.REPORT_PDF).read_bytes()
    objects.check_pdf(read_back.read_pdf(work / run_folder.DICOM_REPORT), pdf, run)
