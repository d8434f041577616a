"""From measurements to what the page shows."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from medseg.config import ReportSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.core.measurements import Measurement
from medseg.core.report import Report
from medseg.core.study import QualityFlag, Series, Study
from medseg.core.volume import IntensityUnit, Volume
from medseg.report.build import build_report
from tests.unit.report.report_cases import (
    OBLIQUE,
    ball,
    centre,
    drawn,
    hot_volume,
    lesion_map,
    measured,
    no_organs,
    protocol,
    record,
    study,
)

PLACES = ((9, 9, 9), (30, 40, 28), (9, 40, 20))
LESIONS = lesion_map(
    OBLIQUE,
    [
        ball(OBLIQUE, OBLIQUE.to_world(np.array(c)), r)
        for c, r in zip(PLACES, (9, 5, 7), strict=True)
    ],
)
ROWS = measured(LESIONS)


def built(
    rows: list[Measurement] = ROWS,
    size_limit_mm3: float = 0,
    flags: tuple[QualityFlag, ...] = (),
) -> Report:
    return build_report(
        protocol(size_limit_mm3),
        study(hot_volume(LESIONS)),
        LESIONS,
        no_organs(OBLIQUE),
        rows,
        record(flags),
    )


def test_every_lesion_is_a_finding_with_three_pictures_in_the_order_of_the_numbers() -> None:
    report = built(list(reversed(ROWS)))
    assert [finding.measurement for finding in report.lesions] == ROWS
    planes = [[picture.plane for picture in finding.pictures] for finding in report.lesions]
    assert planes == [["axial", "coronal", "sagittal"]] * 3
    assert [picture.plane for picture in report.overview] == ["coronal", "sagittal"]
    assert report.organs == ()


def test_a_small_lesion_is_marked_and_stays() -> None:
    limit = ROWS[2].volume_mm3
    report = built(size_limit_mm3=limit)
    assert [finding.below_size_limit for finding in report.lesions] == [False, True, False]
    assert all(len(finding.pictures) == 3 for finding in report.lesions)


def test_each_doubt_is_said_once() -> None:
    doubt = QualityFlag("touching-lesions", "Two lesions touch.")
    assert built(flags=(doubt, doubt)).flags == (doubt,)
    assert built().flags == ()


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:2],
        [*ROWS, replace(ROWS[0], instance=4)],
        [replace(ROWS[0], tracking_uid="2.25.1"), *ROWS[1:]],
    ],
)
def test_measurements_of_other_lesions_are_refused(rows: list[Measurement]) -> None:
    with pytest.raises(ValueError, match="instances of a lesion"):
        built(rows)


def test_lesions_on_another_grid_are_refused() -> None:
    moved = OBLIQUE.affine.copy()
    moved[0, 3] += 5
    elsewhere = InstanceMap(LESIONS.labels, Geometry(OBLIQUE.shape, moved), LESIONS.instances)
    with pytest.raises(ValueError, match="another grid"):
        build_report(
            protocol(), study(hot_volume(LESIONS)), elsewhere, no_organs(OBLIQUE), ROWS, record()
        )


def test_the_study_key_depends_on_the_images_alone() -> None:
    volume = hot_volume(LESIONS)
    other = Study({"pet": Series(1, "PT", volume, "00" * 32)}, {})
    keys = {
        build_report(protocol(limit), one, LESIONS, no_organs(OBLIQUE), ROWS, record()).study_key
        for limit in (0, 500)
        for one in (study(volume), other)
    }
    assert len(keys) == 2
    assert all(len(key) == 16 for key in keys)


def test_the_series_is_described_without_what_could_name_a_patient() -> None:
    (line,) = built().series
    assert line == (
        "pet: series 3 (number 42 in the PACS), PT, "
        "40 × 52 × 36 voxels of 3.72 × 3.17 × 4.13 mm, SUV"
    )


def test_organs_become_findings_without_pictures() -> None:
    labels = np.zeros(OBLIQUE.shape, np.uint16)
    labels[5:20, 5:20, 5:20] = 1
    organs = InstanceMap(labels, OBLIQUE, (Instance(1, "organ", "liver", "2.25.9"),))
    rows = [*ROWS, *measured(organs)]
    report = build_report(protocol(), study(hot_volume(LESIONS)), LESIONS, organs, rows, record())
    assert [finding.measurement.structure for finding in report.organs] == ["liver"]
    assert len(report.lesions) == 3
    assert "1 organs have dashed blue outlines" in report.overview[0].description
    away = middle_of(labels > 0) - middle_of(LESIONS.labels == 1)
    for picture, axis in zip(report.overview, (0, 1), strict=True):
        art = drawn(picture.svg)
        shift = centre(art.paths("organ")) - centre(art.paths("lesion", 1))
        # To the right is to the left or the back, down is to the feet.
        assert shift == pytest.approx((-away[axis], -away[2]), abs=2)


def middle_of(mask: np.ndarray) -> np.ndarray:
    """RAS+ middle of the box around a mask's voxels."""
    places = OBLIQUE.to_world(np.argwhere(mask))
    return (places.min(axis=0) + places.max(axis=0)) / 2


def at_slices_apart(apart_mm: float, limit_mm: float | None = 10) -> Report:
    scale = apart_mm / OBLIQUE.spacing_mm[2]
    geometry = Geometry(OBLIQUE.shape, OBLIQUE.affine * np.array([1, 1, scale, 1]))
    base = protocol()
    limited = base.report.model_copy(update={"measurable_mm": limit_mm})
    volume = Volume(hot_volume(LESIONS).data, geometry, IntensityUnit.SUV)
    lesions = InstanceMap(LESIONS.labels, geometry, LESIONS.instances)
    return build_report(
        base.model_copy(update={"report": limited}),
        study(volume),
        lesions,
        no_organs(geometry),
        measured(lesions),
        record(),
    )


@pytest.mark.parametrize(("apart_mm", "limit_mm"), [(1.0, 10), (5.0, 10), (5.5, 11), (8.0, 16)])
def test_a_lesion_is_measurable_from_twice_the_distance_of_thick_slices(
    apart_mm: float, limit_mm: float
) -> None:
    report = at_slices_apart(apart_mm)
    assert report.measurable_mm == pytest.approx(limit_mm)
    assert f"longest diameter of {limit_mm:.1f} mm" in " ".join(report.method)


def test_a_protocol_without_such_a_limit_says_nothing_of_it() -> None:
    report = at_slices_apart(3, None)
    assert report.measurable_mm is None
    assert "measurable" not in " ".join(report.method)


def test_nothing_found_is_a_report_too() -> None:
    nothing = no_organs(OBLIQUE)
    report = build_report(protocol(), study(hot_volume(LESIONS)), nothing, nothing, [], record())
    assert report.lesions == ()
    assert len(report.overview) == 2


def test_an_image_without_a_physical_unit_makes_no_claim_about_suv() -> None:
    data = hot_volume(LESIONS).data
    volume = Volume(data, OBLIQUE, IntensityUnit.ARBITRARY)
    rows = measured(LESIONS, "arbitrary")
    report = build_report(protocol(), study(volume), LESIONS, no_organs(OBLIQUE), rows, record())
    assert "SUV" not in " ".join(report.method)
    assert report.series[0].endswith("arbitrary unit")


@pytest.mark.parametrize("window", [(5, 5), (10, 0), (0, float("nan"))])
def test_a_window_that_shows_nothing_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match=r"is empty|finite number"):
        ReportSettings(window=window)
