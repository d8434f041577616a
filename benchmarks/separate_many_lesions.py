"""Seconds to separate 20 to 2,000 lesions in one volume, half of them touching in pairs.

Four ways: by offsets and heatmap, by these and doubt about centres, by the heatmap alone, by shape
alone; then to smooth outlines by 5 mm. The time per lesion beyond that of the volume itself is
printed too: it has to stay the same.
Then one component whose heatmap is noise, of more and more voxels: it has the most peaks.

Run: .venv/bin/python benchmarks/separate_many_lesions.py
"""

import time
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.restore import restore
from medseg.segment.separate import separate
from medseg.segment.smooth import smooth

SHAPE = (168, 160, 300)
"""A whole body at 4 mm."""

SPACING_MM = (4.0, 4.2, 4.5)
CELL = (16, 12, 11)
"""Voxels kept free for each lesion or pair."""

SOFT_MM = 6.0
SIGMA_MM = 8.0
OFFSET_NOISE_MM = 1.5


def predict(lesions: int) -> VoxelPrediction:
    """A prediction of that many balls on a grid that is always the same."""
    rng = np.random.default_rng(lesions)
    probability = np.zeros(SHAPE, np.float32)
    heatmap = np.zeros(SHAPE, np.float32)
    offsets = np.zeros((3, *SHAPE), np.float32)
    depth = np.full(SHAPE, -np.inf)
    cells = np.array(list(product(*[range(n // c) for n, c in zip(SHAPE, CELL, strict=True)])))
    placed = 0
    for cell in rng.permutation(cells):
        if placed == lesions:
            break
        first = (cell * CELL + np.array(CELL) // 2) * SPACING_MM
        balls = [(first - np.array((8, 0, 0)), 11.0)]
        if placed % 3 == 0 and placed + 1 < lesions:
            balls.append((first + np.array((11, 2, 0)), 9.0))
        box = tuple(slice(c * n, (c + 1) * n) for c, n in zip(cell, CELL, strict=True))
        for centre, radius in balls:
            square = distances(box, centre)
            soft = np.clip(0.5 + (radius - np.sqrt(square)) / (2 * SOFT_MM), 0, 1)
            probability[box] = np.maximum(probability[box], soft)
            heatmap[box] = np.maximum(heatmap[box], np.exp(-square / (2 * SIGMA_MM**2)))
            mine = radius - np.sqrt(square) > depth[box]
            depth[box] = np.maximum(depth[box], radius - np.sqrt(square))
            for axis, grid in enumerate(np.ogrid[box]):
                way = np.broadcast_to(centre[axis] - grid * SPACING_MM[axis], mine.shape)
                way = way + rng.normal(0, OFFSET_NOISE_MM, mine.shape)
                offsets[axis][box] = np.where(mine, way, offsets[axis][box])
        placed += len(balls)
    if placed < lesions:
        raise ValueError(f"the grid has no room for {lesions} lesions")
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    return VoxelPrediction(probability[None], ("lesion",), geometry, heatmap, offsets)


def distances(box: tuple[slice, ...], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance in mm of the box's voxels to a centre."""
    grids = np.ogrid[box]
    square: NDArray[np.float64] = sum(
        (grid * mm - at) ** 2 for grid, mm, at in zip(grids, SPACING_MM, centre, strict=True)
    )
    return square


def main() -> None:
    """Print one line for each number of lesions."""
    settings = SegmentSettings(model="none")
    doubting = settings.model_copy(update={"doubt_prominence": 0.2})
    acquired = Geometry(SHAPE, np.diag((3.9, 4.3, 4.4, 1.0)))
    print("lesions  found  offsets s  (ms each)  doubt s  heatmap s  shape s  smooth s  restore s")
    empty = seconds_to_separate(predict(0), settings)
    for lesions in (20, 63, 200, 632, 2000):
        prediction = predict(lesions)
        by_votes = seconds_to_separate(prediction, settings)
        by_doubt = seconds_to_separate(prediction, doubting)
        by_heatmap = seconds_to_separate(replace(prediction, offsets_mm=None), settings)
        by_shape = seconds_to_separate(
            replace(prediction, offsets_mm=None, centre_heatmap=None), settings
        )
        separated = separate(prediction, settings)
        start = time.perf_counter()
        smooth(separated, 5)
        smoothing = time.perf_counter() - start
        start = time.perf_counter()
        labels, _, _ = restore(separated, acquired)
        restoring = time.perf_counter() - start
        each = 1000 * (by_votes - empty) / lesions
        print(
            f"{lesions:7} {labels.max():6} {by_votes:10.2f} {each:10.2f} {by_doubt:8.2f} "
            f"{by_heatmap:10.2f} {by_shape:8.2f} {smoothing:9.2f} {restoring:10.2f}"
        )
    print("voxels of noise  doubt s")
    for side in (40, 60, 80):
        prediction = noise((side, side + 2, side + 4))
        print(
            f"{prediction.probabilities.size:15} {seconds_to_separate(prediction, doubting):8.2f}"
        )


def noise(shape: tuple[int, int, int]) -> VoxelPrediction:
    """One component, in which the heatmap's logit is -4 with grain of 0.3."""
    grain = gaussian_filter(np.random.default_rng(1).standard_normal(shape, np.float32), 0.9)
    heatmap = expit(0.3 * grain / grain.std() - 4).astype(np.float32)
    whole = np.full((1, *shape), 0.9, np.float32)
    return VoxelPrediction(
        whole, ("lesion",), Geometry(shape, np.diag((*SPACING_MM, 1.0))), heatmap
    )


def seconds_to_separate(prediction: VoxelPrediction, settings: SegmentSettings) -> float:
    """The least of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        separate(prediction, settings)
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
