import dataclasses

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import nifti
from medseg.training.datasets import (
    TrainingDataError,
    check_split,
    fold,
    make_case,
    read_cases,
    transfer,
)


def write(folder, name, case, labels_geometry=None):
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    nifti.write_volume(folder / f"{name}_pet_suv.nii.gz", volume)
    nifti.write_labels(
        folder / f"{name}_lesions.nii.gz", case.labels, labels_geometry or case.geometry
    )


def test_a_lesion_is_known_by_its_centre_and_the_radius_of_its_ball(case, oblique):
    (lesion,) = case.lesions
    expected = oblique.to_world(np.array([15, 13, 20]))
    np.testing.assert_allclose(lesion.centre_mm, expected, atol=0.5)
    assert lesion.radius_mm == pytest.approx(18, abs=0.5)
    assert (case.labels[lesion.box] == 1).sum() == (case.labels == 1).sum()


def test_every_label_is_a_lesion_even_where_numbers_are_left_out(oblique):
    labels = np.zeros(oblique.shape, np.uint16)
    labels[2:5, 3, 4], labels[9, 8:10, 7] = 2, 5
    case = make_case("x", np.ones(oblique.shape, np.float32), labels, oblique)
    assert [lesion.label for lesion in case.lesions] == [2, 5]


def test_cases_are_read_in_the_order_of_their_names(tmp_path, case):
    for name in ("b", "a"):
        write(tmp_path, name, case)
    first, second = read_cases(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    np.testing.assert_array_equal(first.image, case.image)
    np.testing.assert_array_equal(first.labels, case.labels)


def test_labels_on_another_grid_are_refused_without_the_patients_name(tmp_path, case, oblique):
    moved = oblique.affine.copy()
    moved[0, 3] += 4
    write(tmp_path, "CANARY", case, Geometry(oblique.shape, moved))
    with pytest.raises(TrainingDataError, match="different grids") as caught:
        read_cases(tmp_path)
    assert "CANARY" not in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(TrainingDataError, match="no PET"):
        read_cases(tmp_path)


def test_a_patient_in_train_and_val_is_refused(case):
    other = dataclasses.replace(case, name="two")
    check_split([case], [other])
    with pytest.raises(TrainingDataError, match="both"):
        check_split([case, other], [other])


def test_the_lesion_of_a_crop_is_found_again_in_the_whole(case, oblique):
    """Even where the whole is stored mirrored."""
    box = (slice(8, 24), slice(5, 22), slice(11, 30))
    crop = make_case("one", case.image[box].copy(), case.labels[box].copy(), oblique.crop(box))
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, oblique.shape[0] - 1
    mirrored = Geometry(oblique.shape, oblique.affine @ flip)
    whole = transfer(crop, case.image[::-1].copy(), mirrored)
    np.testing.assert_array_equal(whole.labels, case.labels[::-1])


def test_a_whole_of_another_patient_is_refused(case, oblique):
    with pytest.raises(TrainingDataError, match="intensities"):
        transfer(case, case.image * 1.5, oblique)
    moved = oblique.affine.copy()
    moved[:3, 3] += 2
    with pytest.raises(TrainingDataError, match="grid"):
        transfer(case, case.image, Geometry(oblique.shape, moved))


def test_every_case_is_scored_in_exactly_one_fold_and_learnt_from_in_the_others(case):
    cases = [dataclasses.replace(case, name=f"{number:02}") for number in range(12)]
    parts = [fold(cases, number, 5) for number in range(5)]
    scored = sorted(one.name for _, held in parts for one in held)
    assert scored == [one.name for one in cases]
    for learnt, held in parts:
        assert not {one.name for one in learnt} & {one.name for one in held}
        assert len(learnt) + len(held) == 12
