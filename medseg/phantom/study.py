"""The phantom as a study from a hospital: DICOM on disk, as an archive exports it."""

from datetime import date, datetime
from pathlib import Path

from medseg.formats.dicom_attributes import (
    PatientAttributes,
    SeriesAttributes,
    StudyAttributes,
    Tracer,
    derived_uid,
)
from medseg.formats.dicom_images import write_series
from medseg.formats.nifti import write_labels
from medseg.phantom.body import Phantom, make_phantom

PHANTOM_PATIENT = PatientAttributes(
    name="PHANTOM^MEDSEG",
    patient_id="MEDSEG-PHANTOM",
    birth_date=date(1960, 2, 29),
    sex="O",
    weight_kg=72.5,
    size_m=1.74,
)
"""The patient of the demo, who never lived."""

FDG = Tracer(
    dose_bq=3.1e8,
    half_life_seconds=6586.2,
    positron_fraction=0.967,
    injected=datetime(2020, 3, 2, 9, 14, 30),
)
"""4.3 MBq/kg, an hour before the PET (EANM guideline 2.0 for FDG, Boellaard et al. 2015)."""


def write_phantom_study(
    folder: Path, seed: int = 0, patient: PatientAttributes = PHANTOM_PATIENT
) -> Phantom:
    """Make a whole-body phantom and write its CT and PET as DICOM.

    Args:
        folder: New folder for the files; the truth is not among them.
        seed: As of `make_phantom`.
        patient: Who it is said to be.

    Returns:
        The phantom, with the truth.
    """
    phantom = make_phantom(seed)
    write_study(folder, phantom, patient)
    return phantom


def write_study(
    folder: Path, phantom: Phantom, patient: PatientAttributes = PHANTOM_PATIENT
) -> None:
    """Write CT and PET of a phantom in nested folders, files without an ending.

    Args:
        folder: Made where it does not exist.
        phantom: Its frame of reference also names the study.
        patient: Who it is said to be.
    """
    frame = phantom.pet.geometry.frame_of_reference
    study = StudyAttributes(
        patient=patient,
        uid=derived_uid("medseg phantom study", str(frame)),
        study_id="1",
        started=datetime(2020, 3, 2, 10, 12, 0),
        description="Synthetic FDG PET/CT",
    )
    ct = SeriesAttributes(study, 2, "Synthetic CT", datetime(2020, 3, 2, 10, 13, 20))
    pet = SeriesAttributes(study, 3, "Synthetic PET AC", datetime(2020, 3, 2, 10, 16, 5), FDG)
    write_series(folder / "ST0" / "SE0", phantom.ct, ct)
    write_series(folder / "ST0" / "SE1", phantom.pet, pet)


def write_truth(folder: Path, phantom: Phantom) -> None:
    """Write the known labels on the grid of the PET: `lesions.nii.gz` and `organs.nii.gz`.

    Args:
        folder: Made where it does not exist; keep it apart from the study.
        phantom: With the truth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grid = phantom.pet.geometry
    write_labels(folder / "lesions.nii.gz", phantom.lesions.labels, grid)
    write_labels(folder / "organs.nii.gz", phantom.organs.labels, grid)
