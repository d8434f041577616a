"""Studies for the tests of the report, and a reader for the pictures that it draws."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.config import Protocol, ReportSettings, Role, SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.measurements import Measurement, Point, Segment
from medseg.core.report import RunRecord
from medseg.core.study import QualityFlag, Series, Study
from medseg.core.volume import IntensityUnit, Volume
from medseg.report.scene import Scene, scene

SVG = "{http://www.w3.org/2000/svg}"
HOT, BACKGROUND = 9.0, 1.0

OBLIQUE = Geometry(
    (40, 52, 36),
    np.array(
        [
            [-3.6, 0.9, 0.4, 60.0],
            [0.8, 2.9, -1.3, -70.0],
            [0.5, 0.9, 3.9, -90.0],
            [0, 0, 0, 1],
        ]
    ),
)
"""Left-handed, oblique, anisotropic, slightly sheared."""


def ball(geometry: Geometry, centre_mm: Sequence[float], radius_mm: float) -> NDArray[np.bool_]:
    """The voxels whose centres lie in a ball."""
    indices = np.stack(np.indices(geometry.shape), axis=-1)
    distance = np.linalg.norm(geometry.to_world(indices) - np.array(centre_mm), axis=-1)
    return distance <= radius_mm


def lesion_map(geometry: Geometry, masks: Sequence[NDArray[np.bool_]]) -> InstanceMap:
    """Masks as lesions 1, 2, ...; an earlier one wins."""
    labels = np.zeros(geometry.shape, np.uint16)
    for label, mask in reversed(list(enumerate(masks, start=1))):
        labels[mask] = label
    rows = tuple(
        Instance(label, "lesion", "lesion", tracking_uid("test", "lesion", label))
        for label in range(1, len(masks) + 1)
    )
    return InstanceMap(labels, geometry, rows)


def hot_volume(lesions: InstanceMap, unit: IntensityUnit = IntensityUnit.SUV) -> Volume:
    """An image that is high in the lesions and low elsewhere."""
    data = np.where(lesions.labels > 0, HOT, BACKGROUND).astype(np.float32)
    return Volume(data, lesions.geometry, unit)


def measured(lesions: InstanceMap, unit: str = "SUV") -> list[Measurement]:
    """Rows that are true in place, volume and slice; diameters join centres of far voxels."""
    return [_row(lesions, instance, unit) for instance in lesions.instances]


def _row(lesions: InstanceMap, instance: Instance, unit: str) -> Measurement:
    geometry = lesions.geometry
    voxels = np.argwhere(lesions.labels == instance.label)
    r, a, s = (float(n) for n in geometry.to_world(voxels).mean(axis=0))
    slices, counts = np.unique(voxels[:, geometry.axial_axis], return_counts=True)
    in_slice = voxels[voxels[:, geometry.axial_axis] == slices[np.argmax(counts)]]
    points = geometry.to_world(in_slice)
    first = points[np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1))]
    last = points[np.argmax(np.linalg.norm(points - first, axis=1))]
    longest = (_point(first), _point(last))
    everything = geometry.to_world(voxels)
    box_mm = everything.max(axis=0) - everything.min(axis=0)
    is_suv = unit == "SUV"
    return Measurement(
        instance=instance.label,
        kind=instance.kind,
        structure=instance.structure,
        tracking_uid=instance.tracking_uid,
        organ=instance.organ,
        confidence=instance.confidence,
        voxel_count=len(voxels),
        volume_mm3=len(voxels) * geometry.voxel_volume_mm3,
        centroid_r_mm=r,
        centroid_a_mm=a,
        centroid_s_mm=s,
        longest_axial_diameter_mm=float(np.linalg.norm(first - last)),
        short_axis_mm=3.25,
        max_diameter_3d_mm=float(box_mm.max() + max(geometry.spacing_mm)),
        surface_area_mm2=100.0,
        sphericity=0.9,
        intensity_mean=5.0,
        intensity_std=1.0,
        intensity_min=1.0,
        intensity_max=HOT,
        intensity_median=5.0,
        intensity_p10=2.0,
        intensity_p90=8.0,
        intensity_unit=unit,
        touches_edge=False,
        slice_instance_number=int(slices[np.argmax(counts)]) + 100,
        slice_sop_instance_uid="1.2.3",
        suv_peak=7.0 if is_suv else None,
        total_lesion_glycolysis=12.5 if is_suv else None,
        longest_axial_diameter_ends_mm=longest,
        short_axis_ends_mm=longest,
        max_diameter_3d_ends_mm=longest,
    )


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))


def middle(ends_mm: Segment) -> NDArray[np.float64]:
    """The point between two ends."""
    middle_mm: NDArray[np.float64] = np.mean(ends_mm, axis=0)
    return middle_mm


def the_scene(lesions: InstanceMap, unit: IntensityUnit = IntensityUnit.SUV) -> Scene:
    """Image, lesions and rows, ready to be drawn."""
    return scene(hot_volume(lesions, unit), lesions, measured(lesions, unit), (0.0, 10.0))


def protocol(size_limit_mm3: float = 0) -> Protocol:
    """A PET protocol."""
    return Protocol(
        name="test",
        title="Lesions on PET",
        description="For the tests.",
        roles={"pet": Role(modality="PT", unit=IntensityUnit.SUV)},
        segment=SegmentSettings(model="test"),
        report=ReportSettings(window=(0, 10), size_limit_mm3=size_limit_mm3),
    )


def study(volume: Volume) -> Study:
    """A study of one PET."""
    return Study(
        {"pet": Series(3, "PT", volume, "ab" * 32, pacs_number=42)}, {"pet": "The only PET."}
    )


def record(flags: tuple[QualityFlag, ...] = (), title: str = "Lesions on PET") -> RunRecord:
    """How the numbers were made."""
    return RunRecord(
        versions={"medseg": "0.1", "numpy": "2.4"},
        settings={"title": title, "report": {"window": [0.0, 10.0]}},
        models={"test": "cd" * 32},
        inputs={"pet": "ab" * 32},
        choice={"pet": "The only PET."},
        identity="ef" * 32,
        counting_rule="cc26-peaks",
        flags=flags,
        timings_seconds={"segment": 987.25},
        peak_memory_mib=4321.5,
    )


def no_organs(geometry: Geometry) -> InstanceMap:
    """A map without organs."""
    return InstanceMap(np.zeros(geometry.shape, np.uint16), geometry, ())


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture as its reader sees it, in mm from the top left corner of its image."""

    root: ElementTree.Element

    @property
    def units_per_mm(self) -> float:
        return float(self.root.attrib["data-units-per-mm"])

    def mm(self, units: NDArray[np.float64]) -> NDArray[np.float64]:
        """Units of the drawing as mm from the corner of the image."""
        origin = np.array([float(n) for n in self.root.attrib["data-origin"].split()])
        return (units - origin) / self.units_per_mm

    def paths(self, name: str, lesion: int | None = None) -> list[NDArray[np.float64]]:
        """The polygons of a class, of one lesion or of all."""
        found = [
            path
            for path in self.root.iter(f"{SVG}path")
            if path.get("class") == name
            and (lesion is None or path.get("data-lesion") == str(lesion))
        ]
        return [
            self.mm(np.array([pair.split() for pair in ring.strip("MZ ").split("L")], float))
            for path in found
            for ring in path.attrib["d"].split("M")[1:]
        ]

    def area_mm2(self, name: str, lesion: int | None = None) -> float:
        """The area inside the outlines, holes taken off by their opposite sense."""
        return abs(sum(_signed_area(ring) for ring in self.paths(name, lesion)))

    def texts(self, where: Callable[[ElementTree.Element], bool] = lambda _: True) -> list[str]:
        return [text.text or "" for text in self.root.iter(f"{SVG}text") if where(text)]

    def letters(self) -> tuple[str, str, str, str]:
        """The orientation letters where they stand: left, right, top and bottom."""
        found = [t for t in self.root.iter(f"{SVG}text") if t.get("class") == "letter"]
        at = {(float(t.attrib["x"]), float(t.attrib["y"])): t.text or "" for t in found}
        by_x, by_y = sorted(at), sorted(at, key=lambda place: place[1])
        return at[by_x[0]], at[by_x[-1]], at[by_y[0]], at[by_y[-1]]

    def image(self) -> NDArray[np.uint8]:
        """(rows, columns, channels) of the image."""
        url = next(self.root.iter(f"{SVG}image")).attrib["href"]
        stored = base64.b64decode(re.sub("^data:image/png;base64,", "", url))
        pixels = np.asarray(Image.open(io.BytesIO(stored)))
        return pixels if pixels.ndim == 3 else pixels[:, :, None]

    def image_size_mm(self) -> NDArray[np.float64]:
        area = next(self.root.iter(f"{SVG}image")).attrib
        size = np.array([float(area["width"]), float(area["height"])])
        return size / self.units_per_mm


def drawn(svg: str) -> Drawn:
    """Parse a picture, which must be well-formed by itself."""
    return Drawn(ElementTree.fromstring(svg))  # noqa: S314  (our own, just made)


def _signed_area(ring: NDArray[np.float64]) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def centre(rings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The middle of the box around polygons."""
    points = np.concatenate(list(rings))
    box_middle: NDArray[np.float64] = (points.min(axis=0) + points.max(axis=0)) / 2
    return box_middle
