"""The look of an image is told apart on images made by the physics that it tells."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import iradon, radon

from medseg.core.volume import IntensityUnit
from medseg.formats import nifti
from medseg.formats.dicom_pixels import read_voxels
from medseg.ingest.look import (
    SHARP_BELOW,
    UNCORRECTED_FROM,
    is_mask,
    is_uncorrected,
    kernel,
    noise_correlation,
    rim_over_core,
    unit_doubt,
)

ANGLES = np.linspace(0, 180, 180, endpoint=False)
WATER_PER_MM = 0.0096
"""Attenuation of 511 keV in water (NIST XCOM)."""


def ellipse(shape: tuple[int, int], radii: tuple[float, float]) -> np.ndarray:
    i, j = np.mgrid[: shape[0], : shape[1]]
    centre = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    return ((i - centre[0]) / radii[0]) ** 2 + ((j - centre[1]) / radii[1]) ** 2 < 1


@pytest.fixture(scope="module")
def projections() -> np.ndarray:
    body = np.where(ellipse((160, 160), (70, 50)), 1.0, 0.0)
    return radon(body, ANGLES, circle=False)


@pytest.mark.parametrize("noise", [0.1, 0.6])
@pytest.mark.parametrize(
    ("name", "is_sharp"),
    [("ramp", True), ("shepp-logan", True), ("cosine", False), ("hamming", False), ("hann", False)],
)
def test_a_kernel_is_told_by_its_noise_at_any_dose(projections, noise, name, is_sharp):
    noisy = projections + np.random.default_rng(1).normal(0, noise, projections.shape)
    image = iradon(noisy, ANGLES, circle=False, filter_name=name, output_size=160)
    found = noise_correlation(((image - 1) * 1000).astype(np.float32))
    assert (found < SHARP_BELOW) == is_sharp


def test_without_soft_tissue_nothing_is_said_of_a_kernel():
    air = np.random.default_rng(0).normal(-1000, 10, (40, 50)).astype(np.float32)
    assert noise_correlation(air) is None
    assert noise_correlation(np.zeros((40, 50), np.float32)) is None


@pytest.mark.parametrize("radii", [(22, 16), (30, 20)])
def test_a_pet_without_attenuation_correction_is_told_by_its_bright_skin(radii):
    spacing = (4.7, 4.7)
    body = ellipse((72, 72), radii)
    skin = body & ~ndimage.binary_erosion(body, iterations=2)
    uptake = np.where(body, 1.0, 0.0)
    uptake[skin] = 0.5
    lost = np.exp(-radon(body * WATER_PER_MM * spacing[0], ANGLES, circle=False))
    seen = radon(uptake, ANGLES, circle=False)
    images = [
        np.maximum(iradon(one, ANGLES, circle=False, output_size=72), 0).astype(np.float32)
        for one in (seen, seen * lost)
    ]
    corrected, uncorrected = (rim_over_core(image, spacing) for image in images)
    assert corrected < 0.85 * UNCORRECTED_FROM
    assert uncorrected > 1.15 * UNCORRECTED_FROM


def test_where_no_whole_body_is_seen_nothing_is_said_of_a_pet():
    assert rim_over_core(np.zeros((50, 40), np.float32), (4.0, 4.0)) is None
    assert rim_over_core(np.ones((50, 40), np.float32), (4.0, 4.0)) is None
    cut = ellipse((72, 72), (30, 20))[20:].astype(np.float32)
    assert rim_over_core(cut, (4.7, 4.7)) is None


@pytest.mark.realdata
def test_the_real_whole_body_looks_corrected_and_a_real_ct_soft(real_series):
    assert is_uncorrected(real_series["PT"]) is False
    whole = read_voxels(real_series["PT"])[0]
    spacing = whole.geometry.spacing_mm[:2]
    ratios = []
    for k in range(21, whole.data.shape[2], 32):
        image = np.asarray(whole.data[:, :, k], float)
        body = ndimage.binary_fill_holes(ndimage.gaussian_filter(image, 1) > 0.15)
        lost = np.exp(-radon(body * WATER_PER_MM * spacing[0], ANGLES, circle=False))
        seen = iradon(radon(image, ANGLES, circle=False) * lost, ANGLES, circle=False)
        ratios.append(rim_over_core(np.maximum(seen, 0).astype(np.float32), spacing))
    assert min(ratios) > UNCORRECTED_FROM
    assert kernel(real_series["CT"]) == "soft"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("pet_lesions/*/*_pet_suv.nii.gz", IntensityUnit.SUV),
        ("head_neck_organs/*/*_ct.nii.gz", IntensityUnit.HU),
        ("ms_flair/cases/*_flair.nii.gz", IntensityUnit.ARBITRARY),
    ],
)
def test_real_images_can_be_in_their_own_unit_and_in_no_other(shared_data, pattern, unit):
    files = sorted(shared_data.glob(pattern))
    assert len(files) > 1
    for file in files:
        data = nifti.read_voxels(file, nifti.read_header(file))[0]
        fitting = {one for one in IntensityUnit if unit_doubt(data, one) is None}
        assert unit in fitting, file.name
        assert not {IntensityUnit.SUV, IntensityUnit.HU} & (fitting - {unit}), file.name
        assert not is_mask(data), file.name
        if unit is IntensityUnit.HU:
            assert unit_doubt(data, IntensityUnit.SUV).is_certain, file.name


@pytest.mark.realdata
@pytest.mark.parametrize(
    "pattern", ["head_neck_organs/*/*_organs.nii.gz", "ms_flair/*/*_mask.nii.gz"]
)
def test_a_real_mask_is_no_image(shared_data, pattern):
    files = sorted(shared_data.glob(pattern))
    assert len(files) > 1
    for file in files:
        assert is_mask(nifti.read_voxels(file, nifti.read_header(file))[0]), file.name


@pytest.mark.realdata
def test_a_real_whole_body_is_told_from_its_own_activity(real_series):
    """Four voxels in five are air, so that neither median nor mean of them say anything."""
    stack = real_series["PT"]
    suv = read_voxels(stack)[0].data
    assert unit_doubt(suv, IntensityUnit.SUV) is None
    for bq_per_ml in (1 / stack.scale.factor, 2000):
        assert unit_doubt(np.float32(bq_per_ml) * suv, IntensityUnit.SUV).is_certain
    assert unit_doubt(np.float32(0.001 / stack.scale.factor) * suv, IntensityUnit.SUV) is None


@pytest.mark.parametrize("data", [np.zeros((4, 5, 6), np.float32), np.full((4, 5, 6), 9.5)])
def test_an_empty_pet_and_one_of_a_hot_brain_are_not_doubted(data):
    assert unit_doubt(data.astype(np.float32), IntensityUnit.SUV) is None


def pet(noise: float = 0.05) -> np.ndarray:
    """A body of SUV 1 in a field of air, SUV of noise, and a bladder of 60 in a 200th of it."""
    image = np.random.default_rng(3).normal(0, noise, (40, 30, 20))
    image[10:28, 8:22, :12] += 1
    image[16:22, 11:16, 2:6] = 60
    return image.astype(np.float32)


def test_one_hot_bladder_is_neither_activity_nor_does_it_hide_it():
    assert unit_doubt(pet(), IntensityUnit.SUV) is None
    assert unit_doubt(pet() * 500, IntensityUnit.SUV).is_certain
    assert not unit_doubt(pet() * 50, IntensityUnit.SUV).is_certain


@pytest.mark.parametrize("beyond", [-1024, -1000, 0])
def test_padding_says_nothing_of_a_unit(beyond):
    padded = np.pad(pet(), 9, constant_values=beyond)
    assert unit_doubt(padded, IntensityUnit.SUV) is None
    assert unit_doubt(padded, IntensityUnit.HU) is not None


def test_noise_below_zero_is_a_doubt_and_no_more():
    doubt = unit_doubt(pet(0.55), IntensityUnit.SUV)
    assert "are below -1" in doubt.reason
    assert not doubt.is_certain


def test_a_head_on_mr_is_no_pet_however_much_air_is_around_it():
    rng = np.random.default_rng(0)
    image = np.hypot(*rng.normal(0, 5, (2, 50, 44, 30)))
    image[:, :, :10] = rng.normal(250, 60, (50, 44, 10))
    image = np.rint(image).astype(np.float32)
    assert np.median(image[image > 0]) < 10
    assert unit_doubt(image, IntensityUnit.SUV).is_certain


def test_a_brain_alone_and_a_clipped_body_on_ct_are_doubted_and_no_more():
    image = np.zeros((30, 26, 22), np.float32)
    image[5:25, 5:20, 4:18] = np.random.default_rng(0).normal(35, 8, (20, 15, 14)).round()
    for unit in (IntensityUnit.HU, IntensityUnit.SUV):
        assert not unit_doubt(image, unit).is_certain
    clipped = np.random.default_rng(0).normal(-60, 90, (30, 26, 22)).clip(-40)
    assert not unit_doubt(clipped.astype(np.float32), IntensityUnit.HU).is_certain


@pytest.mark.parametrize("window", [(-1100, 3000), (-160, 240)])
def test_a_ct_of_a_belly_is_no_pet_though_little_of_it_is_bright(window):
    rng = np.random.default_rng(1)
    image = rng.normal(-1000, 12, (60, 50, 30))
    image[8:52, 8:42] = rng.normal(-100, 20, (44, 34, 30))
    image[13:47, 12:38] = rng.normal(55, 20, (34, 26, 30))
    image[28:33, 30:36] = rng.normal(450, 200, (5, 6, 30))
    image = image.clip(*window).astype(np.float32)
    assert np.median(image[image > 0]) < 100
    assert unit_doubt(image, IntensityUnit.SUV).is_certain
    assert unit_doubt(image, IntensityUnit.HU) is None


def test_a_mask_that_an_image_might_be_too_is_a_doubt():
    mask = np.zeros((9, 8, 7), np.float32)
    mask[2:5, 3:6, 1:4] = 1
    for unit in (IntensityUnit.HU, IntensityUnit.SUV):
        assert "as a mask does" in unit_doubt(mask, unit).reason
        assert not unit_doubt(mask, unit).is_certain


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1], True),
        (range(32), True),
        (range(33), False),  # a count that an image may have too
        ([0], False),
        ([1, 8], False),
        ([0, 0.5, 1], False),
        ([-1000, 0, 40], False),
    ],
)
def test_a_mask_holds_few_whole_numbers(values, expected):
    image = np.resize(np.asarray(values, np.float32), (5, 7, 3))
    assert is_mask(image) is expected


@pytest.fixture(scope="module")
def real_series(shared_data, tmp_path_factory):
    import tarfile

    from medseg.ingest.choice import judge

    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(shared_data / "dicom" / "sts_001_whole_body.tar.xz") as archive:
        archive.extractall(folder / "pet", filter="data")
    cases = shared_data.parent / "acceptance" / "ingest_cases.tar.xz"
    with tarfile.open(cases) as archive:
        wanted = [one for one in archive if one.name.startswith("./derived_messy_names/")]
        archive.extractall(folder / "ct", members=wanted, filter="data")
    found = (*judge(folder / "pet").accepted, *judge(folder / "ct").accepted)
    return {one.modality: one.content for one in found}
