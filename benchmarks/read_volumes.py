"""Seconds and memory to read a CT of 512 x 512 x 300: medseg beside SimpleITK and nibabel.

Both readers run in one process, in turn, on the same files, and the ratio of each turn is taken, so
that other work on the machine weighs on both. medseg does everything from a folder to a volume:
every header, the judgement, the voxels as float32, the digest of all bytes. SimpleITK is timed
twice: with the search for the series in the folder, and from a list of files in the right order.
Memory is that of a fresh process for each reader, above what it has after its imports. All give the
same float32, which is checked; SimpleITK is asked for that type. Files are in the page cache.

For what is compressed a line says how long the codec alone takes on all cores, with nothing around
it: no reader that uses that codec is faster. `docs/ingest.md` holds the figures.

Run: .venv/bin/python benchmarks/read_volumes.py [--slices 300] [--turns 7] [--kinds raw nii]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless
from scipy.ndimage import gaussian_filter, zoom

from medseg.ingest.accept import accept, read_series
from medseg.ingest.discover import discover
from medseg.phantom.body import make_phantom

SIZE = 512
NOISE_HU = 25.0
AIR_HU = -1024
SYNTAXES = {"raw": ExplicitVRLittleEndian, "j2k": JPEG2000Lossless, "jls": JPEGLSLossless}
CODECS = {"j2k": imagecodecs.jpeg2k_decode, "jls": imagecodecs.jpegls_decode}
VOLUME_BYTES = 4 * SIZE * SIZE
"""Of one slice, float32."""


def planes(slices: int) -> list[NDArray[np.uint16]]:
    """Axial slices of the phantom's CT with the noise of a scanner, 12 bits."""
    body = make_phantom(0).ct.data
    rng = np.random.default_rng(0)
    made = []
    for k in range(slices):
        noise = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 0.8)
        coarse = body[:, :, k * body.shape[2] // slices]
        fine = zoom(coarse, (SIZE / coarse.shape[0], SIZE / coarse.shape[1]), order=1).T
        values = np.clip(fine + noise * (NOISE_HU / noise.std()) - AIR_HU, 0, 4095)
        made.append(values.round().astype(np.uint16))
    return made


def write(folder: Path, made: list[NDArray[np.uint16]]) -> None:
    """The slices as three DICOM series and one .nii.gz."""
    for name, syntax in SYNTAXES.items():
        (folder / name).mkdir()
        for k, plane in enumerate(made):
            one = header(k)
            one.file_meta = FileMetaDataset()
            one.file_meta.TransferSyntaxUID = syntax
            one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
            one.PixelData = stored(name, plane)
            one["PixelData"].VR = "OW" if name == "raw" else "OB"
            one["PixelData"].is_undefined_length = name != "raw"
            one.save_as(folder / name / f"{k:04}.dcm", enforce_file_format=True)
    values = np.stack([plane.T.astype(np.int16) for plane in made], axis=2)
    nib.save(nib.Nifti1Image(values, np.diag((-0.8, -0.8, 1.25, 1))), folder / "ct.nii.gz")


def header(k: int) -> Dataset:
    """What a slice of a CT says of itself."""
    one = Dataset()
    one.SOPClassUID = CTImageStorage
    one.SOPInstanceUID = f"2.25.{1000 + k}"
    one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = (
        "2.25.1",
        "2.25.2",
        "2.25.3",
    )
    one.Modality, one.SeriesNumber, one.InstanceNumber = "CT", 2, k + 1
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.ImagePositionPatient = [-200, -180, 1.25 * k]
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness = [0.8, 0.8], 1.25
    one.Rows = one.Columns = SIZE
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, AIR_HU, "HU"
    return one


def stored(name: str, plane: NDArray[np.uint16]) -> bytes:
    """Pixel data in the syntax of that name."""
    if name == "raw":
        return plane.tobytes()
    if name == "jls":
        return encapsulate([bytes(imagecodecs.jpegls_encode(plane))])
    options = {"codecformat": "j2k", "reversible": True, "level": 0, "bitspersample": 12}
    return encapsulate([bytes(imagecodecs.jpeg2k_encode(plane, **options))])


def medseg(source: Path) -> NDArray[np.float32]:
    """Folder or file to volume, as `medseg delineate` reads it."""
    (found,) = discover(source).series
    return read_series(accept(found)).volume.data


def simpleitk(source: Path) -> sitk.Image:
    """Folder to volume, as SimpleITK's documentation reads a series."""
    (series,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(source))
    return simpleitk_files(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(source), series))


def simpleitk_files(names: tuple[str, ...]) -> sitk.Image:
    """Files in the right order to volume."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    return reader.Execute()


def simpleitk_sorted(source: Path) -> sitk.Image:
    """The same, where the names of the files happen to be in the right order."""
    return simpleitk_files(tuple(str(path) for path in sorted(source.iterdir())))


def nibabel(source: Path) -> NDArray[np.float32]:
    """File to volume, float32 as medseg's."""
    return nib.load(source).get_fdata(dtype=np.float32, caching="unchanged")


Reader = Callable[[Path], NDArray[np.float32] | sitk.Image]

READERS: dict[str, Reader] = {
    "SimpleITK": simpleitk,
    "SimpleITK, files given": simpleitk_sorted,
    "nibabel": nibabel,
    "medseg": medseg,
}


def values(read: NDArray[np.float32] | sitk.Image) -> NDArray[np.float32]:
    """(I, J, K) of either."""
    return read if isinstance(read, np.ndarray) else sitk.GetArrayFromImage(read).T


def seconds(read: Reader, source: Path) -> float:
    """On the clock."""
    start = time.perf_counter()
    read(source)
    return time.perf_counter() - start


def memory(reader: str, source: Path) -> int:
    """Bytes at the peak above those after the imports, in a process of its own."""
    child = [sys.executable, __file__, "--memory", reader, str(source)]
    return int(subprocess.run(child, capture_output=True, text=True, check=True).stdout)


def peak_bytes() -> int:
    """The most that this process has held (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def compare(source: Path, peer: str, turns: int, volume_bytes: int) -> None:
    """Print one line: seconds of both, ratio, memory of both in volumes."""
    if not np.array_equal(medseg(source), values(READERS[peer](source))):
        raise ValueError(f"{peer} reads other values")
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(seconds(medseg, source))
        theirs.append(seconds(READERS[peer], source))
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    held = [memory(reader, source) / volume_bytes for reader in ("medseg", peer)]
    print(
        f"{source.name:10} {peer:22}"
        f" {statistics.median(ours):8.2f} {statistics.median(theirs):8.2f}"
        f" {statistics.median(ratios):6.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        f" {held[0]:8.2f} {held[1]:8.2f}",
        flush=True,
    )


def bound(source: Path, codec: Callable[[bytes], object], turns: int) -> None:
    """Print one line: seconds of the codec alone, a thread for each core, files already read."""
    frames = [next(generate_frames(dcmread(path).PixelData)) for path in source.iterdir()]
    taken = []
    for _ in range(turns):
        start = time.perf_counter()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(codec, frames):
                continue
        taken.append(time.perf_counter() - start)
    print(f"{source.name:10} {'codec alone':22} {statistics.median(taken):17.2f}", flush=True)


def main() -> None:
    """Print one line for each kind of file and peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", default=[*SYNTAXES, "nii"])
    parser.add_argument("--memory", nargs=2, metavar=("READER", "SOURCE"))
    options = parser.parse_args()
    if options.memory:
        before = peak_bytes()
        READERS[options.memory[0]](Path(options.memory[1]))
        print(peak_bytes() - before)
        return
    volume_bytes = VOLUME_BYTES * options.slices
    print(f"{'files':10} {'peer':22} medseg s   peer s  ratio (min-max)   memory in volumes: both")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, planes(options.slices))
        for kind in (kind for kind in SYNTAXES if kind in options.kinds):
            for peer in ("SimpleITK", "SimpleITK, files given"):
                compare(folder / kind, peer, options.turns, volume_bytes)
            if kind in CODECS:
                bound(folder / kind, CODECS[kind], options.turns)
        if "nii" in options.kinds:
            compare(folder / "ct.nii.gz", "nibabel", options.turns, volume_bytes)


if __name__ == "__main__":
    main()
