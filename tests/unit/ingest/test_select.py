"""A series is chosen for a reason, or not at all."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.config import Protocol
from medseg.core.volume import IntensityUnit
from medseg.errors import (
    InconsistentSeriesError,
    NoImageError,
    NotAnImageError,
    SeriesChoiceError,
    SourceNotFoundError,
    UnitError,
)
from medseg.formats.dicom import read_file
from medseg.ingest import discover
from medseg.ingest.choice import judge
from medseg.ingest.hand_on import hand_on
from medseg.ingest.select import choose_protocol, explain, judge_each, read_study
from tests import dicom_series
from tests.dicom_series import GRID, STORED, example

PET = {"modality": "PT", "unit": "SUV"}
CT = {"modality": "CT", "unit": "HU"}


def protocol(name: str = "pet-ct", **roles: dict[str, object]) -> Protocol:
    return Protocol.model_validate(
        {
            "name": name,
            "title": "A test",
            "description": "For tests.",
            "roles": roles or {"pet": PET, "ct": {**CT, "required": False}},
            "segment": {"model": "none"},
            "report": {"window": [0, 10]},
        }
    )


def pet(**tags: object) -> list:
    return example("PT", **{"Units": "GML", "FrameOfReferenceUID": "2.25.9", **tags})


def ct(**tags: object) -> list:
    return example("CT", **{"SeriesNumber": 2, "FrameOfReferenceUID": "2.25.9", **tags})


UPTAKE = np.abs(STORED) / 1000
MASK = np.rint(UPTAKE).astype(np.uint8)


def nifti(path, data=UPTAKE) -> None:
    nib.save(nib.Nifti1Image(data, GRID.affine), path)


def test_roles_are_filled_by_modality_and_unit_and_say_why(tmp_path):
    dicom_series.write(tmp_path, [*ct(), *pet()])
    study = read_study(tmp_path, protocol(), {})
    assert {role: series.modality for role, series in study.series.items()} == {
        "pet": "PT",
        "ct": "CT",
    }
    assert np.array_equal(study.series["pet"].volume.data, STORED)
    assert study.choice["pet"] == "pet: series 2 is the only PT in SUV among 2 series."
    assert len(study.series["pet"].slices) == GRID.shape[2]
    assert study.series["pet"].digest != study.series["ct"].digest
    assert all("CANARY" not in reason for reason in study.choice.values())


def test_an_optional_role_may_stay_empty_and_a_required_one_may_not(tmp_path):
    dicom_series.write(tmp_path, pet())
    study = read_study(tmp_path, protocol(), {})
    assert set(study.series) == {"pet"}
    assert "no series fits" in study.choice["ct"]
    with pytest.raises(SeriesChoiceError, match=r"role ct .*series 1 \(PT, 6 x 5 x 9 of 1.5"):
        read_study(tmp_path, protocol(pet=PET, ct=CT), {})


def test_two_equals_are_listed_and_the_user_may_choose(tmp_path):
    dicom_series.write(tmp_path / "a", pet(SeriesNumber=1))
    dicom_series.write(tmp_path / "b", pet(SeriesNumber=2, RescaleSlope="2"))
    with pytest.raises(SeriesChoiceError) as caught:
        read_study(tmp_path, protocol(), {})
    size = "(PT, 6 x 5 x 9 of 1.5 x 1.9 x 3.25 mm)"
    assert f"series 1 {size}, series 2 {size}" in caught.value.problem
    assert "--series pet=PATH" in caught.value.remedy
    study = read_study(tmp_path, protocol(), {"pet": tmp_path / "b"})
    assert np.array_equal(study.series["pet"].volume.data, STORED * 2.0)
    assert str(tmp_path) not in study.choice["pet"]


def test_a_role_that_the_protocol_does_not_have_is_refused(tmp_path):
    dicom_series.write(tmp_path, pet())
    with pytest.raises(SeriesChoiceError, match="flair"):
        read_study(tmp_path, protocol(), {"flair": tmp_path})


def test_a_pet_without_suv_is_refused_where_suv_is_needed(tmp_path):
    dicom_series.write(tmp_path, pet(Units="BQML"))
    with pytest.raises(UnitError, match="no SUV"):
        read_study(tmp_path, protocol(), {})
    activity = protocol(pet={"modality": "PT", "unit": "Bq/mL"})
    assert read_study(tmp_path, activity, {}).series["pet"].volume.unit is IntensityUnit.BQML


def test_the_reason_why_the_only_candidate_was_refused_is_what_the_user_reads(tmp_path):
    dicom_series.write(tmp_path, [*ct(), *(one for k, one in enumerate(pet()) if k != 4)])
    with pytest.raises(InconsistentSeriesError, match=r"^Series 2: the series has a gap"):
        read_study(tmp_path, protocol(), {})


def test_an_optional_series_in_another_frame_of_reference_is_left_out(tmp_path):
    dicom_series.write(tmp_path, [*pet(), *ct(FrameOfReferenceUID="2.25.10")])
    study = read_study(tmp_path, protocol(), {})
    assert set(study.series) == {"pet"}
    assert "another frame of reference" in study.choice["ct"]
    with pytest.raises(SeriesChoiceError, match="another frame"):
        read_study(tmp_path, protocol(pet=PET, ct=CT), {})


def test_of_two_the_one_in_the_frame_of_the_main_series_is_taken(tmp_path):
    other = ct(SeriesNumber=1, FrameOfReferenceUID="2.25.10", RescaleIntercept="5")
    dicom_series.write(tmp_path, [*pet(SeriesNumber=3), *other, *ct()])
    study = read_study(tmp_path, protocol(), {})
    assert study.series["ct"].number == 2


def test_one_nifti_file_is_the_main_series_and_its_unit_is_a_doubt(tmp_path):
    nifti(tmp_path / "a.nii.gz")
    for source in (tmp_path, tmp_path / "a.nii.gz"):
        series = read_study(source, protocol(), {}).series["pet"]
        assert series.volume.unit is IntensityUnit.SUV
        assert series.modality is None
        assert [flag.code for flag in series.flags] == ["unit-assumed"]


@pytest.mark.parametrize(
    ("unit", "data", "why"),
    [
        ("SUV", STORED / 100, "no uptake is negative"),
        ("SUV", UPTAKE + 30, "half of its bright voxels exceed 31"),
        ("HU", np.abs(STORED), "its lowest value beside padding is"),
    ],
)
def test_a_nifti_file_that_does_not_look_like_the_unit_that_was_named_is_flagged(
    tmp_path, unit, data, why
):
    nifti(tmp_path / "a.nii.gz", data)
    asked = protocol(main={"modality": "OT", "unit": unit})
    series = read_study(tmp_path, asked, {}).series["main"]
    assert [flag.code for flag in series.flags] == ["unit-assumed", "unit-doubtful"]
    assert why in series.flags[1].message
    explained = explain(judge(tmp_path), asked)
    assert explained.refusal is None
    assert explained.reasons["main"].endswith(series.flags[1].message)


@pytest.mark.parametrize(
    ("unit", "data", "error", "remedy"),
    [
        ("SUV", UPTAKE * 4000 + 1000, UnitError, "body weight"),
        ("SUV", MASK, NotAnImageError, "--mask"),
        ("HU", MASK, NotAnImageError, "--mask"),
        ("arbitrary", MASK, NotAnImageError, "--mask"),
    ],
)
def test_a_nifti_file_that_cannot_be_in_the_unit_is_refused_and_inspect_knows(
    tmp_path, unit, data, error, remedy
):
    nifti(tmp_path / "a.nii.gz", data)
    asked = protocol(main={"modality": "OT", "unit": unit})
    with pytest.raises(error, match="Series 1") as refused:
        read_study(tmp_path, asked, {"main": tmp_path / "a.nii.gz"})
    assert remedy in refused.value.remedy
    explained = explain(judge(tmp_path), asked)
    assert isinstance(explained.refusal, error)
    assert explained.reasons["main"].startswith("main: series 1 is the only NIfTI file")


def test_a_phantom_of_few_whole_numbers_is_an_image_where_it_is_not_stored_as_a_mask_is(tmp_path):
    nifti(tmp_path / "a.nii.gz", MASK.astype(np.float32))
    assert read_study(tmp_path, protocol(), {}).series["pet"].volume.data.max() == MASK.max()


def test_two_nifti_files_must_be_given_their_roles(tmp_path):
    nifti(tmp_path / "a.nii.gz")
    nifti(tmp_path / "b.nii.gz", STORED)
    with pytest.raises(SeriesChoiceError):
        read_study(tmp_path, protocol(), {})
    given = {"pet": tmp_path / "a.nii.gz", "ct": tmp_path / "b.nii.gz"}
    study = read_study(tmp_path, protocol(), given)
    assert study.series["ct"].volume.unit is IntensityUnit.HU


def test_a_nifti_file_beside_dicom_is_no_candidate(tmp_path):
    dicom_series.write(tmp_path, ct())
    nifti(tmp_path / "mask.nii.gz")
    with pytest.raises(SeriesChoiceError):
        read_study(tmp_path, protocol(), {})


def test_nothing_there_is_said_so(tmp_path):
    with pytest.raises(NoImageError):
        read_study(tmp_path, protocol(), {})
    with pytest.raises(SourceNotFoundError):
        read_study(tmp_path / "missing", protocol(), {})


def test_a_protocol_is_chosen_by_what_the_study_holds(tmp_path):
    pet_only, ct_only = protocol("pet", pet=PET), protocol("ct", ct=CT)
    dicom_series.write(tmp_path / "pet", pet())
    chosen, why = choose_protocol(judge(tmp_path / "pet"), [ct_only, pet_only])
    assert chosen.name == "pet"
    assert why == "pet: it is the only one whose roles the study can fill."
    dicom_series.write(tmp_path / "both", [*pet(), *ct()])
    chosen, why = choose_protocol(judge(tmp_path / "both"), [ct_only, pet_only, protocol("pet-ct")])
    assert chosen.name == "pet-ct"
    assert "most series" in why
    with pytest.raises(SeriesChoiceError, match="ct, pet"):
        choose_protocol(judge(tmp_path / "both"), [ct_only, pet_only])


def test_a_protocol_for_a_part_of_the_body_needs_that_part_stated_and_yields_to_one_for_all(
    tmp_path,
):
    neck = protocol("neck", ct=CT).model_copy(update={"chosen_for": ("HeadNeck", "NECK")})
    general = protocol("pet", pet=PET)
    for part, name in (("HEADNECK", "stated"), ("KNEE", "other"), (None, "silent")):
        stated = {} if part is None else {"BodyPartExamined": part}
        dicom_series.write(tmp_path / name, ct(**stated))
    assert choose_protocol(judge(tmp_path / "stated"), [general, neck])[0].name == "neck"
    for name in ("other", "silent"):
        with pytest.raises(SeriesChoiceError, match="neck"):
            choose_protocol(judge(tmp_path / name), [neck])
        with pytest.raises(SeriesChoiceError, match="No protocol fits"):
            choose_protocol(judge(tmp_path / name), [general, neck])
    dicom_series.write(tmp_path / "both", [*pet(), *ct(BodyPartExamined="NECK")])
    assert choose_protocol(judge(tmp_path / "both"), [general, neck])[0].name == "pet"
    (tmp_path / "one").mkdir()
    nifti(tmp_path / "one" / "a.nii.gz")
    assert choose_protocol(judge(tmp_path / "one"), [neck, general])[0].name == "pet"
    read_study(tmp_path / "silent", neck, {})  # named, it is used whatever the study states


def test_what_the_user_chose_for_a_role_counts_when_a_protocol_is_chosen(tmp_path):
    dicom_series.write(tmp_path / "ct", ct())
    dicom_series.write(tmp_path / "elsewhere", pet())
    here, picked = judge(tmp_path / "ct"), judge_each({"pet": tmp_path / "elsewhere"})
    known = [protocol("pet", pet=PET), protocol("ct", ct=CT)]
    assert choose_protocol(here, known)[0].name == "ct"
    assert choose_protocol(here, known, picked)[0].name == "pet"


def test_an_experimental_protocol_is_never_chosen_unasked(tmp_path):
    usual = protocol("usual", ct=CT)
    trial = protocol("trial", ct=CT).model_copy(update={"experimental": True})
    dicom_series.write(tmp_path / "ct", ct())
    here = judge(tmp_path / "ct")
    chosen, why = choose_protocol(here, [usual, trial])
    assert chosen.name == "usual"
    assert why.endswith("trial would fit too, where asked for by name.")
    with pytest.raises(SeriesChoiceError, match="trial would fit, but must be asked for"):
        choose_protocol(here, [protocol("pet", pet=PET), trial])
    with pytest.raises(SeriesChoiceError, match="experimental"):
        choose_protocol(here, [trial])


def test_no_protocol_is_chosen_for_a_study_that_fits_none(tmp_path):
    dicom_series.write(tmp_path, example("MR"))
    with pytest.raises(SeriesChoiceError, match="MR"):
        choose_protocol(judge(tmp_path), [protocol("pet", pet=PET), protocol("ct", ct=CT)])
    with pytest.raises(SeriesChoiceError, match="role pet"):
        choose_protocol(judge(tmp_path), [protocol("pet", pet=PET)])


def test_every_header_is_read_once_even_where_the_protocol_is_chosen(tmp_path, monkeypatch):
    read: list[Path] = []

    def counted(path: Path):
        read.append(path)
        return read_file(path)

    monkeypatch.setattr(discover, "read_file", counted)
    dicom_series.write(tmp_path / "in", pet())
    (tmp_path / "out").mkdir()
    hand_on(tmp_path / "in", tmp_path / "out", None, {})
    assert sorted(read) == sorted((tmp_path / "in").iterdir())
