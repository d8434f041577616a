"""The three tables hold the same numbers, and say so to their readers without pandas."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.measurements import COLUMNS, Measurement
from medseg.errors import UnreadableFileError
from medseg.formats import tables

ROW = Measurement(
    instance=1,
    kind="lesion",
    structure="lesion",
    tracking_uid="2.25.12345",
    organ=None,
    confidence=None,
    voxel_count=17,
    volume_mm3=17 * 53.1,
    centroid_r_mm=-12.25,
    centroid_a_mm=0.1 + 0.2,
    centroid_s_mm=1e-7,
    longest_axial_diameter_mm=21.5,
    short_axis_mm=11.25,
    max_diameter_3d_mm=30.0,
    surface_area_mm2=812.5,
    sphericity=0.71,
    intensity_mean=5.5,
    intensity_std=1.25,
    intensity_min=2.0,
    intensity_max=11.75,
    intensity_median=5.0,
    intensity_p10=3.0,
    intensity_p90=9.0,
    intensity_unit="SUV",
    touches_edge=False,
    slice_instance_number=87,
    slice_sop_instance_uid="1.2.3",
    suv_peak=9.5,
    total_lesion_glycolysis=4.96,
    longest_axial_diameter_ends_mm=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
    short_axis_ends_mm=((1.5, 2.0, 3.0), (4.5, 5.0, 6.0)),
    max_diameter_3d_ends_mm=((1.0, 2.5, 3.0), (4.0, 5.5, 6.0)),
)
BARE = replace(
    ROW,
    instance=2,
    confidence=0.875,
    organ='liver, "left" lobe\n',
    touches_edge=True,
    intensity_unit="arbitrary",
    slice_instance_number=None,
    slice_sop_instance_uid=None,
    suv_peak=None,
    total_lesion_glycolysis=None,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
points = st.tuples(numbers, numbers, numbers)
drawn_rows = st.lists(
    st.builds(
        Measurement,
        **{
            field.name: {
                int: st.integers(0, 2**40),
                int | None: st.none() | st.integers(0, 2**31),
                float: numbers,
                float | None: st.none() | numbers,
                bool: st.booleans(),
                str: st.text(min_size=1),
                str | None: st.none() | st.text(min_size=1),
            }.get(field.type, st.sampled_from(("lesion", "organ")))  # type: ignore[call-overload]
            if not field.name.endswith("_ends_mm")
            else st.tuples(points, points)
            for field in fields(Measurement)
        },
    ),
    max_size=4,
)


def from_text(text: str, like: object) -> object:
    """A cell of the CSV as a value of the type that JSON gave."""
    if text == "":
        return None
    if isinstance(like, bool):
        return {"true": True, "false": False}[text]
    return type(like)(text)


def write_all(
    folder: Path, rows: Sequence[Measurement]
) -> tuple[list[dict[str, str]], list[dict[str, object]], list[dict[str, object]]]:
    tables.write_csv(folder / "t.csv", rows)
    tables.write_json(folder / "t.json", rows)
    tables.write_parquet(folder / "t.parquet", rows)
    with (folder / "t.csv").open(encoding="utf-8", newline="") as file:
        from_csv = list(csv.DictReader(file))
    from_json = json.loads((folder / "t.json").read_text(encoding="utf-8"))["instances"]
    return from_csv, from_json, pq.read_table(folder / "t.parquet").to_pylist()


@given(drawn_rows)
def test_csv_json_and_parquet_hold_the_same_rows_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Measurement]
) -> None:
    from_csv, from_json, from_parquet = write_all(tmp_path_factory.mktemp("t"), rows)
    assert [{c: row[c] for c in COLUMNS} for row in from_json] == from_parquet
    read_back = [
        {c: from_text(row[c], like[c]) for c in COLUMNS}
        for row, like in zip(from_csv, from_parquet, strict=True)
    ]
    assert read_back == from_parquet


@given(drawn_rows)
def test_a_row_comes_back_from_json_as_the_measurement_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Measurement]
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.json"
    tables.write_json(path, rows)
    assert tables.read_json(path) == tuple(rows)


def test_no_character_of_a_name_breaks_the_csv(tmp_path: Path) -> None:
    names = ["a\rb", "a\nb", "\r\n", 'a,"b"', "é\u2028"]
    rows = [replace(ROW, structure=name) for name in names]
    from_csv, _, _ = write_all(tmp_path, rows)
    assert [row["structure"] for row in from_csv] == names
    assert {row["total_lesion_glycolysis"] for row in from_csv} == {"4.96"}


def test_the_csv_has_the_columns_of_the_contract_in_their_order(tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "t.csv", [ROW])
    header, line = (tmp_path / "t.csv").read_bytes().decode().splitlines()
    assert header.split(",") == list(COLUMNS)
    assert line == (
        "1,lesion,lesion,2.25.12345,,,17,902.7,-12.25,0.30000000000000004,1e-07,21.5,11.25,30.0,"
        "812.5,0.71,5.5,1.25,2.0,11.75,5.0,3.0,9.0,SUV,false,87,1.2.3,9.5,4.96"
    )


def test_only_json_holds_the_ends_of_the_diameters(tmp_path: Path) -> None:
    from_csv, from_json, from_parquet = write_all(tmp_path, [ROW])
    assert from_json[0]["short_axis_ends_mm"] == [[1.5, 2, 3], [4.5, 5, 6]]
    assert not any(name.endswith("ends_mm") for name in (*from_csv[0], *from_parquet[0]))


def test_parquet_names_the_unit_of_every_number(tmp_path: Path) -> None:
    tables.write_parquet(tmp_path / "t.parquet", [ROW, BARE])
    stored = pq.read_schema(tmp_path / "t.parquet")
    units = {f.name: (f.metadata or {}).get(b"unit") for f in stored if f.type == "double"}
    assert all(units.values())
    assert units["volume_mm3"] == b"mm3"
    assert units["surface_area_mm2"] == b"mm2"
    assert units["centroid_s_mm"] == b"mm"
    assert units["suv_peak"] == b"g/mL"
    assert units["intensity_p90"] == b"as in the column intensity_unit"


def test_no_instances_make_tables_with_columns_and_without_rows(tmp_path: Path) -> None:
    from_csv, from_json, from_parquet = write_all(tmp_path, [])
    assert from_csv == from_json == from_parquet == []
    assert pq.read_schema(tmp_path / "t.parquet").names == list(COLUMNS)


@pytest.mark.parametrize("write", [tables.write_csv, tables.write_json, tables.write_parquet])
def test_two_writes_are_equal_byte_for_byte(
    tmp_path: Path, write: Callable[[Path, Sequence[Measurement]], None]
) -> None:
    write(tmp_path / "a", [ROW, BARE])
    write(tmp_path / "another-name", [ROW, BARE])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "another-name").read_bytes()


@pytest.mark.parametrize("write", [tables.write_csv, tables.write_json, tables.write_parquet])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_never_written(
    tmp_path: Path, write: Callable[[Path, Sequence[Measurement]], None], value: float
) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write(tmp_path / "t", [replace(ROW, sphericity=value)])
    assert not (tmp_path / "t").exists()


def test_a_number_of_numpy_is_written_as_a_number(tmp_path: Path) -> None:
    from_csv, from_json, from_parquet = write_all(
        tmp_path, [replace(ROW, volume_mm3=np.float64(902.7))]
    )
    assert from_csv[0]["volume_mm3"] == "902.7"
    assert from_json[0]["volume_mm3"] == from_parquet[0]["volume_mm3"] == 902.7


def test_columns_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    row = {**tables.plain([ROW])[0], "organ_share": 0.5}
    (tmp_path / "t.json").write_text(json.dumps({"instances": [row], "version": 2}))
    assert tables.read_json(tmp_path / "t.json") == (ROW,)


def damaged(change: Callable[[dict[str, object]], object]) -> str:
    row = tables.plain([ROW])[0]
    change(row)
    return json.dumps({"instances": [row]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"instances": 3}',
        damaged(lambda row: row.pop("volume_mm3")),
        damaged(lambda row: row.update(volume_mm3="12.0")),
        damaged(lambda row: row.update(volume_mm3=float("nan"))),
        damaged(lambda row: row.update(kind="CANARY")),
        damaged(lambda row: row.update(short_axis_ends_mm=[[1, 2], [3, 4]])),
    ],
)
def test_a_damaged_table_is_refused_without_repeating_what_it_holds(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "CANARY.json").write_text(text)
    with pytest.raises(UnreadableFileError) as refusal:
        tables.read_json(tmp_path / "CANARY.json")
    assert "CANARY" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        tables.read_json(tmp_path / "none.json")


def test_the_refusal_names_the_column_at_fault(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(damaged(lambda row: row.pop("volume_mm3")))
    with pytest.raises(UnreadableFileError, match="volume_mm3"):
        tables.read_json(tmp_path / "t.json")


def test_the_schema_in_the_package_is_that_of_the_table(tmp_path: Path) -> None:
    stored = json.loads(tables.SCHEMA.read_text(encoding="utf-8"))
    assert stored == tables.json_schema()
    tables.write_json(tmp_path / "t.json", [ROW, BARE])
    table = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    jsonschema.validate(table, stored)
    table["instances"][1]["volume_mm3"] = "17 mm3"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(table, stored)
