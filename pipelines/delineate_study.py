"""One study from its files to its report, as a Prefect flow."""

from pathlib import Path

from prefect import flow

from medseg import run_folder
from medseg.config import MaskSettings, Protocol
from pipelines import tasks


@flow(name="delineate-study", persist_result=False)
def delineate_study(
    source: Path,
    run: Path,
    settings: Protocol | None = None,
    series: dict[str, Path] | None = None,
    mask: MaskSettings | None = None,
) -> Path:
    """Take one study from its files to its report.

    Args:
        source: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        run: New folder for the outputs; an existing one is refused, never overwritten.
        settings: The protocol; None chooses by what the study holds.
        series: Role to the file or folder that the user chose for it.
        mask: A peer's mask in place of a model.

    Returns:
        The report.

    Raises:
        MedsegError: One of `medseg.errors`; nothing is left behind.
    """
    with run_folder.staged(run) as work:
        line(source, work, settings, series, mask)
    return run / run_folder.REPORT_HTML


@flow(name="demo", persist_result=False)
def demo(run: Path, seed: int = 0) -> str:
    """Make a phantom study as DICOM files, delineate it, and score what was found.

    Args:
        run: New folder for the outputs; an existing one is refused, never overwritten.
        seed: Another seed is another patient.

    Returns:
        Lines for a person: where the report is, and how many of the known lesions were found.
    """
    with run_folder.staged(run) as work:
        source = tasks.make_phantom(work, seed)
        line(source, work)
        found = tasks.score_phantom(work)
    return f"Report: {run / run_folder.REPORT_HTML}\n{found}"


def line(
    source: Path,
    work: Path,
    settings: Protocol | None = None,
    series: dict[str, Path] | None = None,
    mask: MaskSettings | None = None,
) -> None:
    """Run every stage as a task in a staging folder; arguments as in `delineate_study`."""
    protocol = tasks.ingest(source, work, settings, series or {})
    if mask is None:
        tasks.segment(work, protocol)
    else:
        tasks.adopt_mask(work, protocol, mask)
    tasks.measure(work, protocol)
    tasks.report(work, protocol)
    tasks.export(work, protocol)
    tasks.verify(work, protocol)
