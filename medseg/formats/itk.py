"""The door to SimpleITK: an array from one grid onto another.

SimpleITK is told of no patient. Both images get the identity geometry, and one affine transform
takes an index of the target to an index of the source: `inv(source.affine) @ target.affine`. So
nothing is converted to LPS that could be converted twice, and sheared grids work, which an
`Image` of SimpleITK cannot hold because its direction must be orthonormal.
"""

from typing import Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name for it)
from numpy.typing import NDArray

from medseg.core.geometry import Geometry

INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}


def resample(
    data: NDArray[np.float32],
    source: Geometry,
    target: Geometry,
    *,
    interpolation: Literal["linear", "nearest"],
    outside: float,
) -> NDArray[np.float32]:
    """The values of one grid at the voxel centres of another.

    Up to half a voxel beyond the outermost centres, which is where the voxels end, the nearest
    edge value is continued; farther out there is only `outside`. Linear interpolation does not
    smooth: a caller that goes to a much coarser grid does that first.

    Args:
        data: (I, J, K) float32 on the source; copied once at most if its memory is in C or in
            Fortran order, so a whole body costs its own size and the result's.
        source: Where the data lies.
        target: Where values are wanted.
        interpolation: Between the eight neighbours, or the nearest one.
        outside: Value of target voxels that lie beyond the source.

    Returns:
        float32 of the target's shape, in C order.

    Raises:
        ValueError: The data is not float32 on the source's grid, or the two frames of reference
            are known and differ, so that equal coordinates are different places.
    """
    if data.shape != source.shape or data.dtype != np.float32:
        raise ValueError(f"{data.dtype} {data.shape} on a grid of {source.shape}")
    if len({source.frame_of_reference, target.frame_of_reference} - {None}) > 1:
        raise ValueError("two frames of reference: equal coordinates are different places")
    to_source = np.linalg.inv(source.affine) @ target.affine

    # SimpleITK's first axis is the one whose neighbours are next to each other in memory: the
    # last of an array in C order, the first of one in Fortran order, which nibabel makes.
    fortran = data.flags.f_contiguous and not data.flags.c_contiguous
    source_order = (0, 1, 2) if fortran else (2, 1, 0)
    target_order = (2, 1, 0)
    transform = sitk.AffineTransform(
        to_source[np.ix_(source_order, target_order)].ravel().tolist(),
        to_source[list(source_order), 3].tolist(),
    )
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([target.shape[axis] for axis in target_order])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(INTERPOLATORS[interpolation])
    resampler.SetDefaultPixelValue(float(outside))
    resampled = resampler.Execute(sitk.GetImageFromArray(data.T if fortran else data))
    # Not GetArrayViewFromImage: its view dangles once the image is gone.
    values: NDArray[np.float32] = sitk.GetArrayFromImage(resampled)
    return values
