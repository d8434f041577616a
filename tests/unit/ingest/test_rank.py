"""Candidates are ranked by rules in a fixed order, and each rank says its reason."""

import numpy as np
import pytest

from medseg.config import Role
from medseg.core.volume import IntensityUnit
from medseg.errors import SeriesChoiceError
from medseg.ingest.choice import consider, judge
from medseg.ingest.select import explain, read_study
from tests import dicom_series, hospital
from tests.dicom_series import GRID, STORED, example
from tests.unit.ingest.test_select import CT, PET, protocol

BOTH = {"pet": PET, "ct": {**CT, "required": False}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return hospital.write(tmp_path_factory.mktemp("hospital"))


def ranks(candidates) -> dict[int, int | None]:
    return {one.number: one.rank for one in candidates}


def test_a_hospital_study_is_read_as_a_radiologist_would(study):
    found = read_study(study, protocol(**BOTH), {})
    assert {role: series.number for role, series in found.series.items()} == {"pet": 5, "ct": 2}
    pet, ct = found.candidates["pet"], found.candidates["ct"]
    assert ranks(pet) == {5: 1, 6: None, 7: None, 8: None}
    assert ranks(ct) == {2: 1, 3: 2, 4: 3, 1: None}
    reasons = {one.number: one.reason for one in (*pet, *ct)}
    assert "Bq/mL" in reasons[6]
    assert "MIP" in reasons[7]
    assert "Secondary Capture" in reasons[8]
    assert reasons[2] == "before series 3 by slice spacing (1.50 mm against 5.00 mm)"
    assert reasons[3] == "after series 2 by slice spacing (1.50 mm against 5.00 mm)"
    assert reasons[4] == "after series 3 by kernel (soft by its noise against sharp by its noise)"
    assert "localizer" in reasons[1]
    assert (
        found.choice["pet"] == "pet: series 5 is the only one of 3 series of PT that can be taken."
    )
    assert found.choice["ct"] == (
        "ct: series 2 ranks first of 3, before series 3 by slice spacing (1.50 mm against 5.00 mm)."
    )


@pytest.mark.parametrize(
    ("rules", "first"),
    [
        ({"kernel": "sharp"}, 4),
        ({"slice_spacing_mm": 5}, 3),
        ({"max_slice_spacing_mm": 3, "kernel": "soft"}, 2),
        ({"slice_spacing_mm": 5, "max_slice_spacing_mm": 3}, 2),
    ],
)
def test_the_rules_of_the_protocol_decide(study, rules, first):
    role = Role.model_validate({**CT, **rules})
    assert consider("ct", role, judge(study), None).ranked[0].series.number == first


def test_without_a_wish_for_a_kernel_two_of_one_grid_are_a_tie_that_lists_them(study):
    rules = {"pet": PET, "ct": {**CT, "kernel": None}}
    with pytest.raises(SeriesChoiceError, match=r"series 2 \(CT, 44 x 52 x 30 of .* series 4 \(CT"):
        read_study(study, protocol(**rules), {})
    candidates = explain(judge(study), protocol(**rules)).candidates["ct"]
    assert ranks(candidates) == {2: 1, 4: 1, 3: 3, 1: None}
    assert candidates[0].reason.startswith("equal to series 4 by every rule; before series 3 by")


def test_an_explanation_keeps_what_was_considered_when_it_ends_in_a_refusal(study):
    asked = protocol(pet={**PET, "min_coverage_mm": 3000})
    answer = explain(judge(study), asked).plain()
    assert (answer["protocol"], answer["error"]) == ("pet-ct", "SeriesChoiceError")
    (pet,) = answer["roles"].values()
    assert pet["reason"] is None
    assert all(one["rank"] is None for one in pet["candidates"])
    assert "head to foot" in pet["candidates"][0]["reason"]
    assert explain(judge(study), protocol(**BOTH)).plain()["error"] is None


@pytest.mark.parametrize(
    ("rules", "better", "worse", "name"),
    [
        ({}, {}, {"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "image type"),
        ({"contrast": "with"}, {"ContrastBolusAgent": "Iohexol"}, {}, "contrast"),
        ({"contrast": "without"}, {"ContrastBolusAgent": "none"}, {"ContrastBolusAgent": "x"},
         "contrast"),
        ({"body_parts": ["Chest"]}, {"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "HEAD"},
         "body part"),
        ({"body_parts": ["Chest"]}, {"BodyPartExamined": "CHEST"}, {}, "body part"),
    ],
)  # fmt: skip
def test_each_tag_that_a_rule_names_parts_two_series(tmp_path, rules, better, worse, name):
    one = {"SeriesNumber": 8, "FrameOfReferenceUID": "2.25.3"}
    dicom_series.write(tmp_path / "a", example("CT", **{**one, "SeriesNumber": 2, **worse}))
    dicom_series.write(tmp_path / "b", example("CT", **{**one, **better}))
    ranked = consider("ct", Role.model_validate({**CT, **rules}), judge(tmp_path), None).ranked
    assert [entry.series.number for entry in ranked] == [2, 1]
    assert f"by {name} (" in ranked[0].reason
    if rules:
        without = consider("ct", Role.model_validate(CT), judge(tmp_path), None).ranked
        assert [entry.rank for entry in without] == [1, 1]


def test_the_plane_is_told_by_the_geometry(tmp_path):
    affine = GRID.affine[:, [1, 2, 0, 3]]
    turned = type(GRID)((5, 9, 6), affine)
    shared = {"FrameOfReferenceUID": "2.25.3", "kernel": None}
    del shared["kernel"]
    dicom_series.write(tmp_path / "a", example("CT", SeriesNumber=2, **shared))
    sagittal = dicom_series.slices(
        turned, STORED.transpose(1, 2, 0), "CT", SeriesNumber=3, **shared
    )
    dicom_series.write(tmp_path / "b", sagittal)
    for plane, first in (("axial", 1), ("sagittal", 2)):
        role = Role.model_validate({**CT, "plane": plane, "kernel": None})
        ranked = consider("ct", role, judge(tmp_path), None).ranked
        assert ranked[0].series.number == first
        assert "by plane (" in ranked[0].reason


@pytest.mark.parametrize(
    ("tags", "weighting"),
    [
        ({"EchoTime": "110", "InversionTime": "2500", "RepetitionTime": "9000"}, "flair"),
        ({"EchoTime": "95", "RepetitionTime": "4000"}, "t2"),
        ({"EchoTime": "12", "RepetitionTime": "500"}, "t1"),
        ({"EchoTime": "3", "InversionTime": "900"}, "t1"),
        ({"EchoTime": "80", "InversionTime": "160"}, ""),
        ({}, ""),
    ],
)
def test_a_flair_is_told_by_its_times(tmp_path, tags, weighting):
    dicom_series.write(tmp_path, example("MR", **tags))
    here = judge(tmp_path)
    assert here.accepted[0].content.slices[0].file.traits.weighting == weighting
    for asked in ("flair", "t2", "t1"):
        role = Role(modality="MR", unit=IntensityUnit.ARBITRARY, weighting=asked)
        ranking = consider("mr", role, here, None)
        assert bool(ranking.ranked) == (weighting in ("", asked))


def test_a_series_that_the_user_chose_is_taken_against_the_rules(study):
    found = read_study(study, protocol(**BOTH), {"pet": study / "mip", "ct": study / "lung"})
    assert "user chose" in found.choice["pet"]
    assert np.median(found.series["ct"].volume.data) == pytest.approx(40, abs=5)


def test_no_reason_quotes_the_file(tmp_path):
    words = {
        "ImageType": ["DERIVED", "CANARY", "MIP"], "BodyPartExamined": "CANARY",
        "ContrastBolusAgent": "CANARY", "SeriesDescription": "CANARY",
    }  # fmt: skip
    dicom_series.write(tmp_path / "CANARY", example("CT", **words))
    dicom_series.write(tmp_path / "b", example("CT", SeriesNumber=9, **{**words, "ImageType": "X"}))
    asked = protocol(ct={**CT, "body_parts": ["CHEST"], "contrast": "with"})
    assert "CANARY" not in str(explain(judge(tmp_path), asked).plain())
