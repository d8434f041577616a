"""Size, time and memory of the report of 50 lesions in a 512x512x300 CT, and how fast it opens.

The CT is a noisy body with organs, so that its pictures and its slices compress as real ones do.
Opening is the time until the page has loaded and its slice viewer shows slices, in Chromium without
a screen or a GPU; beside it stands the processor time of all of Chromium's processes, which a busy
machine does not change. The report must stay under 15 MB and open in under 4 s.

Run: .venv/bin/python benchmarks/report_many_lesions.py [FOLDER]
"""

import contextlib
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from medseg.config import MeasureSettings, Protocol, ReportSettings, Role, SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, Kind, tracking_uid
from medseg.core.report import Report, RunRecord
from medseg.core.study import Series, SliceReference, Study
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.measure import measure
from medseg.report import pdf
from medseg.report.build import build_report
from medseg.report.html import render

SHAPE = (512, 512, 300)
SPACING_MM = (0.8, 0.8, 1.5)
LESIONS = 50
NOISE_HU = 18.0
MOST_MB, MOST_SECONDS = 15, 4
REPEATS = 5
CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ORGANS = {
    "liver": ((170, 230, 150), (80, 90, 60), 60.0),
    "spleen": ((370, 300, 160), (35, 45, 35), 50.0),
    "kidney_right": ((190, 330, 90), (28, 28, 40), 35.0),
    "kidney_left": ((330, 330, 95), (28, 28, 40), 35.0),
    "lung_left": ((350, 240, 250), (75, 95, 45), -850.0),
}
"""Name to centre, half axes in voxels, and HU."""


def ellipsoid(centre: tuple[int, ...], radii: tuple[int, ...]) -> tuple[tuple[slice, ...], NDArray]:
    """The box around an ellipsoid, and the mask in it."""
    box = tuple(
        slice(max(0, c - r), min(n, c + r + 1))
        for c, r, n in zip(centre, radii, SHAPE, strict=True)
    )
    away = [
        ((np.arange(s.start, s.stop) - c) / r) ** 2
        for s, c, r in zip(box, centre, radii, strict=True)
    ]
    return box, away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :] <= 1


def instances(labels: NDArray[np.uint16], kind: Kind, names: list[str]) -> InstanceMap:
    """A label array as a map."""
    rows = tuple(
        Instance(n, kind, name, tracking_uid("bench", kind, n)) for n, name in enumerate(names, 1)
    )
    return InstanceMap(labels, GEOMETRY, rows)


GEOMETRY = Geometry(
    SHAPE,
    np.array([[-0.8, 0, 0, 204.0], [0, -0.8, 0, 204.0], [0, 0, 1.5, -600.0], [0, 0, 0, 1.0]]),
)


def ct() -> tuple[Volume, InstanceMap, InstanceMap]:
    """The image, its lesions and its organs."""
    rng = np.random.default_rng(50)
    data = rng.normal(0, NOISE_HU, SHAPE).astype(np.float32)
    body_box, body = ellipsoid((255, 255, 150), (225, 160, 2000))
    inside = np.zeros(SHAPE, bool)
    inside[body_box] = body
    data += np.where(inside, np.float32(40), np.float32(-1000))
    organs = np.zeros(SHAPE, np.uint16)
    for label, (centre, radii, level) in enumerate(ORGANS.values(), 1):
        box, mask = ellipsoid(centre, radii)
        organs[box][mask] = label
        data[box][mask] += level - 40
    lesions = np.zeros(SHAPE, np.uint16)
    label = 0
    while label < LESIONS:
        across = int(rng.integers(3, 26))
        radii = (across, int(across * rng.uniform(0.6, 1)) + 1, across // 2 + 1)
        centre = tuple(
            int(rng.integers(r + 20, n - r - 20)) for r, n in zip(radii, SHAPE, strict=True)
        )
        box, mask = ellipsoid(centre, radii)
        if not inside[centre] or lesions[box].any():
            continue
        label += 1
        lesions[box][mask] = label
        data[box][mask] += rng.uniform(25, 90)
    volume = Volume(data, GEOMETRY, IntensityUnit.HU)
    return (
        volume,
        instances(lesions, "lesion", ["lesion"] * LESIONS),
        instances(organs, "organ", list(ORGANS)),
    )


def built() -> Report:
    """Everything up to the report, with the time that the report itself took."""
    volume, lesions, organs = ct()
    slices = tuple(SliceReference(f"2.25.{n}", n + 1) for n in range(SHAPE[2]))
    rows = [
        row for one in (lesions, organs) for row in measure(one, volume, MeasureSettings(), slices)
    ]
    protocol = Protocol(
        name="bench",
        title="Lesions on CT",
        description="For this benchmark.",
        roles={"ct": Role(modality="CT", unit=IntensityUnit.HU)},
        segment=SegmentSettings(model="bench"),
        report=ReportSettings(window=(-160, 240)),
    )
    study = Study({"ct": Series(1, "CT", volume, "00" * 32, slices, pacs_number=4)}, {})
    record = RunRecord({}, {}, {}, {}, {}, "00" * 32, "cc26-peaks", (), {}, 0.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    report = build_report(protocol, study, lesions, organs, rows, record)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"build: {time.perf_counter() - begin:.1f} s, peak {before / 1024:.0f} MiB before (image,"
    )
    print(f"  labels and measuring, in memory here), {after / 1024:.0f} MiB after")
    return report


def processor_seconds() -> float:
    """Of all processes that this one started, and of those that they started."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            values = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children.setdefault(int(values[1]), []).append(int(folder.name))
            used[int(folder.name)] = int(values[11]) + int(values[12])
    below, found = [os.getpid()], 0.0
    while below:
        for child in children.get(below.pop(), []):
            found += used[child]
            below.append(child)
    return found / os.sysconf("SC_CLK_TCK")


def opening(page: Path) -> list[float]:
    """Seconds until the viewer shows slices; prints what went wrong on the way."""
    seconds = []
    with sync_playwright() as playwright:
        for _ in range(REPEATS):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            complaints: list[str] = []
            asked: list[str] = []
            tab.on("console", lambda message, said=complaints: said.append(message.text))
            tab.on("pageerror", lambda error, said=complaints: said.append(str(error)))
            tab.on("request", lambda request, urls=asked: urls.append(request.url))
            tab.set_default_timeout(300_000)
            begin, before = time.perf_counter(), processor_seconds()
            tab.goto(page.as_uri())
            tab.locator("#cursor:not(:empty)").wait_for()
            seconds.append(time.perf_counter() - begin)
            beside = [url for url in asked if not url.startswith("data:")][1:]
            used = processor_seconds() - before
            print(f"  {seconds[-1]:.2f} s ({used:.2f} of a processor), ", end="")
            print(f"console {complaints}, requests beside the page {beside}")
            last = len(seconds) == REPEATS
            if last:
                rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
                found = Axe().run(tab, options={"runOnly": rules}).response
                print(f"  axe-core: {len(found['passes'])} rules pass, violated: ", end="")
                print([one["id"] for one in found["violations"]])
            browser.close()
    return seconds


def main() -> None:
    """Print what was measured; exits with 1 where a bound is missed."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    report = built()
    begin = time.perf_counter()
    page = folder / "report.html"
    page.write_text(render(report), encoding="utf-8")
    megabytes = page.stat().st_size / 1e6
    print(f"report.html: {megabytes:.1f} MB in {time.perf_counter() - begin:.1f} s")
    if pdf.missing() is None:
        begin = time.perf_counter()
        (folder / "report.pdf").write_bytes(pdf.render_pdf(report))
        size = (folder / "report.pdf").stat().st_size / 1e6
        print(f"report.pdf: {size:.1f} MB in {time.perf_counter() - begin:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of all: {peak:.0f} MiB")
    median = statistics.median(opening(page))
    print(f"opens in {median:.2f} s (median of {REPEATS})")
    sys.exit(0 if megabytes < MOST_MB and median < MOST_SECONDS else 1)


if __name__ == "__main__":
    main()
