"""The line: each stage reads the run folder, calls a verb and writes the run folder.

Stages take paths and small records and hand arrays on through files, so that the same functions run
in one process here and as tasks of `pipelines/`.
"""

import hashlib
import json
import logging
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from medseg import config, run_folder
from medseg.config import MaskSettings, ModelCard, Protocol
from medseg.core.instances import Delineation
from medseg.core.prediction import Progress, silent
from medseg.core.report import RunRecord
from medseg.core.study import QualityFlag
from medseg.errors import SettingsError
from medseg.formats import handover, nifti, tables
from medseg.memory import own_peak_kib
from medseg.site_secret import load_site_secret

if TYPE_CHECKING:
    from medseg.formats.dicom_objects import ObjectRun

logger = logging.getLogger(__name__)

RECORDED_PACKAGES = (
    "connected-components-3d",
    "highdicom",
    "monai",
    "nibabel",
    "numpy",
    "openvino",
    "pydicom",
    "scikit-image",
    "scipy",
    "SimpleITK",
    "torch",
)
"""Packages on which a number may depend; their versions go into `run.json`."""

MASK_RECORD = "mask.json"
"""In the folder of stages: what took the place of the model."""

CARD_RECORD = "card.json"
"""In the folder of stages: the card of the model as it is used; a user may edit it meanwhile, so a
run reads it once."""

COUNTING_RULE = "cc26-peaks"
"""Name of the rule by which lesions are told apart; `segment.separate` says what it means."""


def delineate(
    source: Path,
    run: Path,
    protocol: Protocol | None = None,
    series: Mapping[str, Path] | None = None,
    progress: Progress = silent,
    mask: MaskSettings | None = None,
    fingerprint: str = "",
) -> Path:
    """Take one study from its files to its report.

    Args:
        source: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        run: New folder for the outputs; an existing one is refused, never overwritten.
        protocol: What to do; None chooses by what the study holds.
        series: Role to the file or folder that the user chose for it.
        progress: Told the stage and the share of it that is done.
        mask: A peer's mask in place of a model.
        fingerprint: Content hash of all this, for the manifest, where a worklist asks for it.

    Returns:
        The report.

    Raises:
        MedsegError: One of `medseg.errors`; nothing is left behind.
    """
    with run_folder.staged(run, fingerprint) as work:
        line(source, work, protocol, series, progress, mask)
    return run / run_folder.REPORT_HTML


def line(
    source: Path,
    work: Path,
    protocol: Protocol | None = None,
    series: Mapping[str, Path] | None = None,
    progress: Progress = silent,
    mask: MaskSettings | None = None,
) -> None:
    """Run every stage in a staging folder. Arguments as in `delineate`."""
    progress("ingest", 0)
    chosen = ingest(source, work, protocol, series or {})
    progress("ingest", 1)
    if mask is None:
        segment(work, chosen, progress)
    else:
        adopt_mask(work, chosen, mask)
    progress("measure", 0)
    measure(work, chosen)
    progress("measure", 1)
    progress("report", 0)
    report(work, chosen)
    progress("report", 1)
    progress("export", 0)
    export(work, chosen)
    progress("export", 1)
    progress("verify", 0)
    verify(work, chosen)
    progress("verify", 1)


def demo(run: Path, seed: int = 0, progress: Progress = silent) -> str:
    """Make a phantom study as DICOM files, delineate it, and score what was found.

    Returns:
        Lines for a person: where the report is, and how many of the known lesions were found. The
        phantom and the scores lie in the run folder's subfolder `phantom`.
    """
    with run_folder.staged(run) as work:
        source = make_phantom(work, seed)
        line(source, work, progress=progress)
        found = score_phantom(work)
    return f"Report: {run / run_folder.REPORT_HTML}\n{found}"


def ingest(
    source: Path, work: Path, protocol: Protocol | None, series: Mapping[str, Path]
) -> Protocol:
    """Choose the series, read their voxels, and hand on the study.

    Returns:
        The protocol, chosen by what the study holds where none was given.
    """
    from medseg.ingest import guard

    with _timed(work, "ingest"):
        stages = work / run_folder.STAGES
        card = None if protocol is None else _fitting_card(protocol)
        chosen = guard.hand_on(source, stages, protocol, series, load_site_secret())
        card = card or config.load_card(chosen.segment.model)
        _write_json(stages / CARD_RECORD, config.plain(card))
        return chosen


def segment(work: Path, protocol: Protocol, progress: Progress = silent) -> None:
    """Delineate the study, and write both label maps on the acquired grid."""
    from medseg.model.load import load_model
    from medseg.segment.delineate import delineate as delineate_volumes

    with _timed(work, "segment"):
        study = handover.read_study(work / run_folder.STAGES)
        card = _card(work)
        delineation = delineate_volumes(
            {role: series.volume for role, series in study.series.items()},
            load_model(
                card,
                protocol.segment.tile_overlap,
                config.card_folder(protocol.segment.model),
            ),
            protocol.segment,
            identity=_run_identity(work, protocol),
            calibration=card.calibration,
            progress=progress,
        )
        _hand_on(work, delineation)


def adopt_mask(work: Path, protocol: Protocol, mask: MaskSettings) -> None:
    """Take a peer's mask in place of a model, and write both label maps on the acquired grid.

    Raises:
        InputError: The mask cannot be read, or lies elsewhere than the study.
    """
    from medseg.given_mask import read_given
    from medseg.segment.mask import adopt_mask as adopt

    with _timed(work, "segment"):
        study = handover.read_study(work / run_folder.STAGES)
        acquired = study.series[protocol.main_role].volume.geometry
        given = read_given(mask, acquired)
        record = {
            "kind": given.kind,
            "sha256": given.sha256,
            "instances": mask.instances,
            "labels": list(mask.labels),
        }
        delineation, rule = adopt(
            given.labels,
            acquired,
            chosen=mask,
            settings=protocol.segment,
            identity=_identity(_inputs(work), record, config.named(protocol, _card(work))),
        )
        _write_json(work / run_folder.STAGES / MASK_RECORD, {**record, "rule": rule})
        _hand_on(work, replace(delineation, flags=(*delineation.flags, *given.flags)))


def _hand_on(work: Path, delineation: Delineation) -> None:
    """Write both maps for the user and for the next stage."""
    handover.write_flags(work / run_folder.STAGES / "segment-flags.json", delineation.flags)
    for instances, name, stage in (
        (delineation.lesions, run_folder.LESIONS, "lesions"),
        (delineation.organs, run_folder.ORGANS, "organs"),
    ):
        nifti.write_labels(work / name, instances.labels, instances.geometry)
        handover.write_instances(work / run_folder.STAGES / stage, instances)


def measure(work: Path, protocol: Protocol) -> None:
    """Measure every instance, and write the tables."""
    from medseg.measure.doubts import doubts
    from medseg.measure.measure import measure as measure_instances

    with _timed(work, "measure"):
        main = handover.read_study(work / run_folder.STAGES).series[protocol.main_role]
        rows = [
            row
            for stage in ("lesions", "organs")
            for row in measure_instances(
                handover.read_instances(work / run_folder.STAGES / stage),
                main.volume,
                protocol.measure,
                main.slices,
            )
        ]
        flags = doubts(rows, config.load_structures())
        handover.write_flags(work / run_folder.STAGES / "measure-flags.json", flags)
        tables.write_json(work / run_folder.STAGES / "rows.json", rows)
        tables.write_csv(work / run_folder.TABLE_CSV, rows)
        tables.write_json(work / run_folder.TABLE_JSON, rows)
        tables.write_parquet(work / run_folder.TABLE_PARQUET, rows)


def report(work: Path, protocol: Protocol) -> None:
    """Write the report; where no PDF can be made, a flag says why."""
    from medseg.report import pdf
    from medseg.report.build import build_report
    from medseg.report.html import render

    with _timed(work, "report"):
        stages = work / run_folder.STAGES
        study = handover.read_study(stages)
        fault = pdf.missing()
        named, unnamed = _identification(stages, protocol)
        flags = tuple(flag for flag in (unnamed, fault) if flag is not None)
        handover.write_flags(stages / "report-flags.json", flags)
        record = _record(work, protocol)
        page = build_report(
            protocol,
            study,
            handover.read_instances(stages / "lesions"),
            handover.read_instances(stages / "organs"),
            tables.read_json(work / run_folder.TABLE_JSON),
            record,
        )
        page = replace(page, identification=named)
        (work / run_folder.REPORT_HTML).write_text(render(page), encoding="utf-8")
        if fault is None:
            (work / run_folder.REPORT_PDF).write_bytes(pdf.render_pdf(page))


def _identification(
    stages: Path, protocol: Protocol
) -> tuple[tuple[tuple[str, str], ...], QualityFlag | None]:
    """What names the patient on a report that is asked to; a flag where the source does not say."""
    from medseg.formats.dicom_identification import identification
    from medseg.formats.dicom_source import read_source

    if protocol.report.pseudonymised:
        return (), None
    source = read_source(stages, protocol.main_role)
    named = () if source is None else identification(source)
    if named:
        return named, None
    message = "The report was asked to name the patient, and the source states no patient."
    return (), QualityFlag("patient-not-named", message)


def export(work: Path, protocol: Protocol) -> None:
    """Write the FHIR Bundle, and the objects for a PACS where the source was DICOM."""
    from medseg.formats import fhir

    with _timed(work, "export"):
        record = _record(work, protocol)
        subject = fhir.Subject(
            record.identity,
            record.patient_key,
            record.counting_rule,
            f"medseg {record.versions['medseg']}",
        )
        rows = tables.read_json(work / run_folder.TABLE_JSON)
        fhir.write_fhir(work / run_folder.FHIR, rows, subject, config.load_structures())
        run = _object_run(work, protocol)
        if run is not None:
            _export_objects(work, protocol, run)


def verify(work: Path, protocol: Protocol) -> None:
    """Read every export back, compare it with what was measured, and write the run record.

    Raises:
        ExportMismatchError: An export says something else; names it.
    """
    from medseg.verify.truth import Truth
    from medseg.verify.verify import verify as verify_exports

    with _timed(work, "verify"):
        stages = work / run_folder.STAGES
        main = handover.read_study(stages).series[protocol.main_role]
        lesions, organs = (
            handover.read_instances(stages / stage) for stage in ("lesions", "organs")
        )
        rows = tables.read_json(stages / "rows.json")
        truth = Truth(lesions, organs, main.volume, main.slices, rows)
        verify_exports(work, truth, _object_run(work, protocol))
    _write_json(work / run_folder.RUN_RECORD, asdict(_record(work, protocol)))


def make_phantom(work: Path, seed: int) -> Path:
    """Write the phantom's DICOM study and its truth into the staging folder.

    Returns:
        The folder of the DICOM study.
    """
    from medseg.phantom.study import write_phantom_study

    with _timed(work, "phantom"):
        phantom = write_phantom_study(work / run_folder.PHANTOM_STUDY, seed)
        truth = phantom.lesions
        nifti.write_labels(work / run_folder.PHANTOM_TRUTH, truth.labels, truth.geometry)
        handover.write_instances(work / run_folder.STAGES / "truth", truth)
    return work / run_folder.PHANTOM_STUDY


def score_phantom(work: Path) -> str:
    """Compare what was delineated with the phantom's truth, and write the scores.

    Returns:
        A sentence for a person: how many of the known lesions were found, under which rule.
    """
    from medseg.evaluate.rules import LABELS_ANY_OVERLAP
    from medseg.evaluate.scores import evaluate

    stages = work / run_folder.STAGES
    scores = evaluate(
        handover.read_instances(stages / "lesions"), handover.read_instances(stages / "truth")
    )
    _write_json(work / run_folder.PHANTOM_SCORES, scores.plain())
    found = scores.under(LABELS_ANY_OVERLAP)
    return (
        f"Found {found.found_lesions} of {found.reference_lesions} known lesions "
        f"({found.rule}); {len(scores.matches)} of them have an outline of their own. "
        f"{found.false_lesions} of {found.predicted_lesions} outlines are no lesion."
    )


def _object_run(work: Path, protocol: Protocol) -> "ObjectRun | None":
    """What the DICOM objects of a run share; None where none can be made."""
    from medseg.formats.dicom_objects import ObjectRun
    from medseg.formats.dicom_source import read_source

    source = read_source(work / run_folder.STAGES, protocol.main_role)
    if source is None:
        return None
    mask = _mask_record(work)
    drawn_by = _card(work).name if mask is None else f"mask that was given ({mask['kind']})"
    return ObjectRun(source, _run_identity(work, protocol), drawn_by, config.load_structures())


def _export_objects(work: Path, protocol: Protocol, run: "ObjectRun") -> None:
    """Write every DICOM object; a map without instances has none."""
    from medseg.formats import dicom_pdf, dicom_seg, dicom_sr, rtstruct

    lesions, organs = (
        handover.read_instances(work / run_folder.STAGES / stage) for stage in ("lesions", "organs")
    )
    (work / run_folder.DICOM).mkdir(exist_ok=True)
    if lesions.instances:
        path = work / run_folder.DICOM_LESIONS
        uid = dicom_seg.write_segmentation(path, lesions, dicom_seg.LESIONS, run)
        table = tables.read_json(work / run_folder.TABLE_JSON)
        rows = [row for row in table if row.kind == "lesion"]
        path = work / run_folder.DICOM_MEASUREMENTS
        dicom_sr.write_measurements(path, rows, lesions.geometry, uid, run)
    if organs.instances:
        path = work / run_folder.DICOM_ORGANS
        if protocol.export.organ_segmentation == "labelmap":
            dicom_seg.write_label_map(path, organs, dicom_seg.ORGAN_LABELS, run)
        else:
            dicom_seg.write_segmentation(path, organs, dicom_seg.ORGANS, run)
    if lesions.instances or organs.instances:
        rtstruct.write_structures(work / run_folder.DICOM_STRUCTURES, (lesions, organs), run)
    if (work / run_folder.REPORT_PDF).exists():
        pdf = (work / run_folder.REPORT_PDF).read_bytes()
        names_patient = not protocol.report.pseudonymised
        path = work / run_folder.DICOM_REPORT
        dicom_pdf.write_pdf(path, pdf, run, names_patient=names_patient)


@contextmanager
def _timed(work: Path, stage: str) -> Iterator[None]:
    """Note how long a stage took, for `run.json`; a full machine is a `ResourceError` at once."""
    logger.info("%s: begins", stage)
    begin = time.monotonic()
    with run_folder.machine_faults():
        yield
    seconds = time.monotonic() - begin
    path = work / run_folder.STAGES / "timings.json"
    timings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    _write_json(path, {**timings, stage: round(seconds, 3)})
    logger.info("%s: done after %.1f s", stage, seconds)


def _record(work: Path, protocol: Protocol) -> RunRecord:
    stages = work / run_folder.STAGES
    study = handover.read_study(stages)
    mask = _mask_record(work)
    card = _card(work)
    own = config.is_path(protocol.segment.model)  # medseg holds no other copy of it
    versions = {name: version(name) for name in RECORDED_PACKAGES}
    return RunRecord(
        versions={"medseg": version("medseg"), "python": platform.python_version(), **versions},
        settings=config.plain(config.named(protocol, card)),
        models={card.name: card.sha256} if mask is None else {},
        cards={card.name: config.plain(card)} if mask is None and own else {},
        inputs=_inputs(work),
        choice=dict(study.choice),
        identity=_run_identity(work, protocol),
        counting_rule=COUNTING_RULE if mask is None else str(mask["rule"]),
        flags=(
            *study.flags,
            *handover.read_flags(stages / "segment-flags.json"),
            *handover.read_flags(stages / "measure-flags.json"),
            *handover.read_flags(stages / "report-flags.json"),
        ),
        timings_seconds=json.loads((stages / "timings.json").read_text(encoding="utf-8")),
        peak_memory_mib=round(max(_peaks_kib()) / 1024, 1),
        candidates=dict(study.candidates),
        study_key=study.study_key,
        patient_key=study.patient_key,
        mask={} if mask is None else {str(mask["kind"]): str(mask["sha256"])},
    )


def _card(work: Path) -> ModelCard:
    """The card of the protocol's model, as it was when the run began."""
    path = work / run_folder.STAGES / CARD_RECORD
    return ModelCard.model_validate_json(path.read_text(encoding="utf-8"))


def _mask_record(work: Path) -> dict[str, object] | None:
    """What was noted of a mask that took the place of the model; None where the model was used."""
    path = work / run_folder.STAGES / MASK_RECORD
    if not path.exists():
        return None
    record: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _peaks_kib() -> tuple[int, int]:
    """Of this process, and of the largest that it started to read files."""
    return own_peak_kib(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def _inputs(work: Path) -> dict[str, str]:
    study = handover.read_study(work / run_folder.STAGES)
    return {role: series.digest for role, series in study.series.items()}


def _fitting_card(protocol: Protocol) -> ModelCard:
    """The card of a protocol's model, if the protocol sees to every role of it.

    Raises:
        SettingsError: A role of the model is not among those that the protocol requires.
    """
    card = config.load_card(protocol.segment.model)
    required = [role for role, rule in protocol.roles.items() if rule.required]
    if not set(card.input.roles) <= set(required) or card.input.roles[0] != protocol.main_role:
        raise SettingsError(
            f"The model {card.name} needs the roles {', '.join(card.input.roles)}, and the "
            f"protocol requires {', '.join(required)}, so nothing was run.",
            "Give the protocol the roles of its model, the main one first, or another model.",
        )
    return card


def _run_identity(work: Path, protocol: Protocol) -> str:
    """The identity of a run, by its model or by the mask that took the model's place."""
    mask = _mask_record(work)
    card = _card(work)
    drawn_by = card if mask is None else mask
    return _identity(_inputs(work), drawn_by, config.named(protocol, card))


def _identity(
    inputs: Mapping[str, str], drawn_by: ModelCard | Mapping[str, object], protocol: Protocol
) -> str:
    """Digest of all that determines the labels: equal identity, equal labels.

    Args:
        inputs: Role to the digest of its voxels.
        drawn_by: The model's card, or the record of a mask.
        protocol: As `config.named` gives it.
    """
    source: dict[str, object] = (
        {
            "weights": drawn_by.sha256,
            "input": config.plain(drawn_by.input),
            "network": config.plain(drawn_by.network),
        }
        if isinstance(drawn_by, ModelCard)
        else {"mask": {name: drawn_by[name] for name in ("sha256", "labels", "instances")}}
    )
    parts = {
        "inputs": dict(inputs),
        "roles": config.plain(protocol)["roles"],
        **source,
        "segment": config.plain(protocol.segment),
        "version": version("medseg"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
