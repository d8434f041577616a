"""SUV against examples computed by hand, and the tags that do not allow it."""

from datetime import datetime

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medseg.core.volume import IntensityUnit
from medseg.formats.dicom import group, read_file
from medseg.formats.dicom_pixels import read_voxels
from medseg.formats.dicom_stack import stack
from medseg.formats.dicom_suv import PetScale, pet_scale, pet_tags
from medseg.formats.dicom_values import MalformedValueError, date_time, moment, quiet
from tests import dicom_series
from tests.dicom_series import FDG, STORED, drug

ONE_HOUR = 70_000 / (370e6 * 0.5 ** (3600 / 6586.2))
"""70 kg in g over 370 MBq decayed for one hour: 2.7634e-4 g/mL per Bq/mL."""


def dataset(drug_tags: dict[str, object] | None = None, **tags: object) -> Dataset:
    """The PET of `dicom_series.FDG`, changed; None removes a tag."""
    made = Dataset()
    for name, value in {**FDG, **tags}.items():
        if value is not None:
            setattr(made, name, value)
    made.RadiopharmaceuticalInformationSequence = drug(**(drug_tags or {}))
    return made


def scale(drug_tags: dict[str, object] | None = None, **tags: object) -> PetScale:
    with quiet():
        return pet_scale([pet_tags(dataset(drug_tags, **tags))])


def test_the_example_computed_by_hand():
    assert pytest.approx(2.7634e-4, rel=1e-4) == ONE_HOUR
    assert scale() == PetScale(pytest.approx(ONE_HOUR), IntensityUnit.SUV)


def test_an_image_corrected_to_administration_is_not_decayed_again():
    assert scale(DecayCorrection="ADMIN").factor == pytest.approx(70_000 / 370e6)


@pytest.mark.parametrize(
    ("drug_tags", "tags", "hours"),
    [
        ({"RadiopharmaceuticalStartDateTime": "20240305113000"}, {}, 1.5),
        ({"RadiopharmaceuticalStartDateTime": "20240305113000.500000"}, {}, 1.5 - 0.5 / 3600),
        (
            {"RadiopharmaceuticalStartDateTime": "20240304233000"},
            {"SeriesTime": "003000", "AcquisitionTime": "003000"},
            1.0,
        ),
        (
            {"RadiopharmaceuticalStartTime": "233000"},
            {"SeriesTime": "003000", "AcquisitionTime": "003000"},
            1.0,
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20240305100000+0000"},
            {"TimezoneOffsetFromUTC": "+0100"},
            2.0,
        ),
        ({"RadiopharmaceuticalStartTime": "12:15"}, {}, 0.75),
    ],
)
def test_the_time_since_the_injection(drug_tags, tags, hours):
    found = scale(drug_tags, **tags)
    expected = 70_000 / (370e6 * 0.5 ** (hours * 3600 / 6586.2))
    assert found == PetScale(pytest.approx(expected), IntensityUnit.SUV)


def test_a_date_that_does_not_fit_is_left_out_and_flagged():
    found = scale({"RadiopharmaceuticalStartDateTime": "19991231120000"})
    assert found.factor == pytest.approx(ONE_HOUR)
    assert [flag.code for flag in found.flags] == ["injection-date"]


def test_a_series_stored_later_counts_from_its_first_acquisition():
    found = pet_scale(
        [pet_tags(dataset(SeriesTime="150000", AcquisitionTime=t)) for t in ("131000", "130000")]
    )
    assert found.factor == pytest.approx(ONE_HOUR)
    assert [flag.code for flag in found.flags] == ["late-series-time"]


def test_bed_positions_share_the_start_of_the_series():
    beds = [pet_tags(dataset(AcquisitionTime=t)) for t in ("130000", "130300", "130600")]
    assert pet_scale(beds) == PetScale(pytest.approx(ONE_HOUR), IntensityUnit.SUV)


def test_a_series_that_began_long_before_its_acquisition_is_flagged():
    found = scale(SeriesTime="124000")
    assert found.factor == pytest.approx(70_000 / (370e6 * 0.5 ** (2400 / 6586.2)))
    assert [flag.code for flag in found.flags] == ["early-series-time"]


@pytest.mark.parametrize(
    ("group_number", "creator", "element"),
    [(0x0009, "GEMS_PETD_01", 0x0D), (0x0071, "SIEMENS MED PT", 0x22)],
)
def test_the_vendors_scan_start_stands_for_a_series_stored_later(group_number, creator, element):
    made = dataset(SeriesTime="150000", AcquisitionTime="131000")
    block = made.private_block(group_number, creator, create=True)
    block.add_new(element, "DT", "20240305130000")
    found = pet_scale([pet_tags(made)])
    assert found == PetScale(pytest.approx(ONE_HOUR), IntensityUnit.SUV)


def philips(element: int, value: str) -> PetScale:
    made = dataset(Units="CNTS")
    block = made.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(element, "DS", value)
    return pet_scale([pet_tags(made)])


def test_counts_of_philips_are_scaled_by_its_own_factors():
    assert philips(0x00, "0.00123") == PetScale(0.00123, IntensityUnit.SUV)
    assert philips(0x09, "2.5") == PetScale(pytest.approx(2.5 * ONE_HOUR), IntensityUnit.SUV)
    assert philips(0x00, "0").unit is IntensityUnit.ARBITRARY


def test_several_injections_have_no_suv():
    """Of a split dose, or of two tracers: which one the image shows cannot be known."""
    made = dataset()
    made.RadiopharmaceuticalInformationSequence.extend(drug(RadionuclideTotalDose="185000000"))
    found = pet_scale([pet_tags(made)])
    assert found.unit is IntensityUnit.BQML
    assert "several injections" in found.flags[0].message


def test_a_private_value_of_unknown_representation_is_read_without_its_padding():
    """As an archive stores it that does not know the vendor's dictionary."""
    made = dataset(Units="CNTS")
    block = made.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "UN", b"0.00123\0")
    assert pet_scale([pet_tags(made)]).factor == 0.00123
    made = dataset(SeriesTime="150000", AcquisitionTime="131000")
    block = made.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "UN", b"20240305130000.00 ")
    assert pet_scale([pet_tags(made)]).factor == pytest.approx(ONE_HOUR)


@pytest.mark.parametrize("unit", ["GML", "SUV"])
def test_uptake_values_are_left_alone(unit):
    assert scale(Units=unit, PatientWeight=None) == PetScale(1.0, IntensityUnit.SUV)


@pytest.mark.parametrize(
    ("drug_tags", "tags", "word"),
    [
        ({}, {"PatientWeight": None}, "weight"),
        ({}, {"PatientWeight": "0"}, "weight"),
        ({"RadionuclideTotalDose": None}, {}, "dose"),
        ({"RadionuclideTotalDose": "370"}, {}, "dose"),
        ({"RadionuclideHalfLife": None}, {}, "half-life"),
        ({"RadiopharmaceuticalStartTime": None}, {}, "injection"),
        ({"RadiopharmaceuticalStartTime": "nonsense"}, {}, "injection"),
        ({"RadionuclideHalfLife": "122", "RadiopharmaceuticalStartTime": "090000"}, {}, "fit"),
        ({}, {"DecayCorrection": "NONE"}, "decay"),
        ({}, {"DecayCorrection": None}, "decay"),
        ({}, {"CorrectedImage": ["ATTN"]}, "decay"),
        ({}, {"CorrectedImage": ["DECY"]}, "attenuation"),
        ({}, {"AcquisitionTime": None}, "acquisition"),
        ({}, {"AcquisitionTime": "999999"}, "acquisition"),
    ],
)
def test_tags_that_do_not_allow_it_leave_activity_and_say_why(drug_tags, tags, word):
    found = scale(drug_tags, **tags)
    assert (found.factor, found.unit) == (1.0, IntensityUnit.BQML)
    assert [flag.code for flag in found.flags] == ["no-suv"]
    assert word in found.flags[0].message


@pytest.mark.parametrize("tags", [{"Units": "CNTS"}, {"Units": "GML", "SUVType": "LBM"}])
def test_other_units_stay_without_a_meaning(tags):
    assert scale(**tags).unit is IntensityUnit.ARBITRARY


def test_slices_that_disagree_about_the_patient_have_no_suv():
    found = pet_scale([pet_tags(dataset()), pet_tags(dataset(PatientWeight="71"))])
    assert found.unit is IntensityUnit.BQML


def test_a_pet_series_is_read_in_suv_with_the_slope_of_each_slice(tmp_path):
    datasets = dicom_series.example("PT", **FDG)
    for k, one in enumerate(datasets):
        one.RadiopharmaceuticalInformationSequence = drug()
        one.RescaleSlope = str(0.5 + k)
    dicom_series.write(tmp_path, datasets)
    (series,) = group(read_file(path) for path in tmp_path.iterdir())
    volume = read_voxels(stack(series))[0]
    assert volume.unit is IntensityUnit.SUV
    expected = STORED * (0.5 + np.arange(STORED.shape[2])) * ONE_HOUR
    assert np.allclose(volume.data, expected, rtol=1e-6)


def test_dates_and_times_in_every_form_that_occurs():
    expected = datetime(2024, 3, 5, 13, 7, 9, 250_000)
    assert moment("20240305", "130709.25") == expected
    assert moment("2024.03.05", "13:07:09.250000") == expected
    assert moment("20240305", "13") == datetime(2024, 3, 5, 13)
    assert moment("", "13") is None
    assert date_time("20240305130709.25-0500", "-0500") == expected
    assert date_time("20240305130709.25-0500", "") == expected
    for date, time in (("20241332", "13"), ("20240305", "25"), ("5.3.24", "13"), ("x", "13")):
        with pytest.raises(MalformedValueError):
            moment(date, time)


def enhanced(code: str = "Bq/ml", factor: float = 1, **tags: object) -> Dataset:
    """The example as an enhanced object; its mapping is the rescaling times a factor."""
    made = dataset({"RadiopharmaceuticalStartDateTime": "20240305120000"})
    for name in ("Units", "DecayCorrection", "CorrectedImage", "SeriesTime", "AcquisitionTime"):
        delattr(made, name)
    frames = []
    for slope in (1.5, 2.5):
        unit, mapping, values, frame = Dataset(), Dataset(), Dataset(), Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", code
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope * factor, 0.0
        mapping.MeasurementUnitsCodeSequence = [unit]
        values.RescaleSlope, values.RescaleIntercept = str(slope), "0"
        frame.RealWorldValueMappingSequence = [mapping]
        frame.PixelValueTransformationSequence = [values]
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = frames
    made.DecayCorrected = made.AttenuationCorrected = "YES"
    made.DecayCorrectionDateTime = "20240305130000"
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def test_an_enhanced_pet_is_in_suv_as_the_classic_one_is():
    assert pet_scale([pet_tags(enhanced())]).factor == pytest.approx(ONE_HOUR)
    later = pet_scale([pet_tags(enhanced(DecayCorrectionDateTime="20240305120000"))])
    assert later.factor == pytest.approx(70_000 / 370e6)
    in_suv = pet_scale([pet_tags(enhanced("{SUVbw}g/ml"))])
    assert in_suv == PetScale(1.0, IntensityUnit.SUV)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (enhanced(AttenuationCorrected="NO"), "attenuation"),
        (enhanced(AttenuationCorrected="NO", DecayCorrected="NO"), "attenuation"),
        (enhanced(DecayCorrected="NO"), "decay"),
        (enhanced(DecayCorrectionDateTime=""), "which moment"),
        (enhanced("{SUVlbm}g/ml"), "not by body weight"),
        (enhanced("{counts}"), "activity concentration"),
        (enhanced(factor=1.01), "activity concentration"),
    ],
)
def test_an_enhanced_pet_that_does_not_say_enough_has_no_suv(made, reason):
    scale = pet_scale([pet_tags(made)])
    assert scale.unit is not IntensityUnit.SUV
    assert reason in scale.flags[0].message
