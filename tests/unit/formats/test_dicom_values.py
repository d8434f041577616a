"""Values are read once for all slices that share them, and mean what they mean in each."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from medseg.formats.dicom_values import MalformedValueError, integer, number, numbers, texts, value


def stored(*, little: bool = True, implicit: bool = False, **tags: object) -> Dataset:
    """A dataset as a file gives it: no value of it was looked at."""
    made = Dataset()
    for name, content in tags.items():
        setattr(made, name, content)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = little, implicit
    write_dataset(buffer, made)
    return read_dataset(BytesIO(buffer.getvalue()), implicit, little)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Rows", 513),
        ("RescaleSlope", "-1.50"),
        ("ImagePositionPatient", ["-200.5", "17", "1e1"]),
        ("InstanceNumber", "12"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"]),
        ("SOPInstanceUID", "2.25.17"),
        ("StudyDate", "20240229"),
        ("EffectiveEchoTime", 81.25),
        ("PatientName", "CANARY^A"),
        ("BodyPartExamined", ""),
    ],
)
def test_a_value_is_what_pydicom_reads_and_stays_so(name, content, implicit):
    expected = stored(implicit=implicit, **{name: content})[name].value
    for _ in range(2):
        found = value(stored(implicit=implicit, **{name: content}), name)
        assert found == (expected or None)
        assert type(found) is type(expected or None)


def test_the_same_bytes_in_another_byte_order_are_another_number():
    little, big = stored(Rows=0x0102), stored(Rows=0x0201, little=False)
    assert little.get_item("Rows").value == big.get_item("Rows").value
    assert (integer(little, "Rows"), integer(big, "Rows")) == (0x0102, 0x0201)


def test_the_same_bytes_are_text_where_they_stand_for_text():
    made = stored(RescaleSlope="12", RescaleType="12", InstanceNumber="12", ImageType="12")
    assert number(made, "RescaleSlope") == integer(made, "InstanceNumber") == 12
    assert texts(made, "RescaleType") == texts(made, "ImageType") == ("12",)


def test_a_damaged_value_is_damaged_every_time():
    for _ in range(2):
        made = stored(RescaleSlope="1.25")
        element = made.get_item("RescaleSlope")
        made._dict[element.tag] = element._replace(value=b"1.2x")
        with pytest.raises(MalformedValueError):
            number(made, "RescaleSlope")
    assert numbers(stored(RescaleSlope="1.25"), "RescaleSlope", 1) == (1.25,)
