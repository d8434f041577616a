"""`medseg receive` against dcmtk's `storescu`: a CT of 500 slices, senders at once, and bad ones.

    python benchmarks/receive_many_slices.py [--slices 500] [--turns 5] [--malformed 1000]

The rate is of the whole `storescu` process, from its start to its end, on this machine alone:
sender and receiver share its cores. Beside it, in turn, dcmtk's `storescp` receives the same.
"""

import argparse
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.orthanc import free_port

SIDE = 512


def write_ct(folder: Path, slices: int) -> None:
    """A CT series of noise, a file a slice."""
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid() for _ in range(3))
    rng = np.random.default_rng(0)
    for number in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.PatientName, one.PatientID = "CT", "PHANTOM^NOISE", "PHANTOM"
        one.Rows = one.Columns = SIDE
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.InstanceNumber = [0.8, 0.8], 1, number + 1
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 15, 1, 1
        one.PhotometricInterpretation, one.RescaleSlope, one.RescaleIntercept = "MONOCHROME2", 1, 0
        one.PixelData = rng.integers(-1000, 2000, (SIDE, SIDE), np.int16).tobytes()
        one.save_as(folder / f"{number:04d}", enforce_file_format=True)


def data_set(path: Path) -> bytes:
    """What stands behind the file meta information, byte for byte."""
    content = path.read_bytes()
    return content[132 + 12 + int.from_bytes(content[140:144], "little") :]


@contextmanager
def receiver(inbox: Path) -> Iterator[int]:
    """`medseg receive` as a process of its own."""
    with subprocess.Popen(
        [Path(sys.executable).with_name("medseg"), "receive", inbox, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None  # noqa: S101
        try:
            said = b""
            while b"}" not in said:
                said += process.stdout.readline()
            yield json.loads(said)["port"]
        finally:
            process.terminate()


@contextmanager
def peer(folder: Path) -> Iterator[int]:
    """The storescp of dcmtk."""
    folder.mkdir(parents=True)
    port = free_port()
    with subprocess.Popen(["storescp", "-od", folder, "-pdu", "131072", str(port)]) as process:
        try:
            time.sleep(1)
            yield port
        finally:
            process.terminate()


def sender(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start storescu on a folder."""
    return subprocess.Popen(
        ["storescu", "-aec", "MEDSEG", "+sd", "127.0.0.1", str(port), folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def seconds(folder: Path, port: int) -> float:
    """How long storescu takes."""
    begin = time.perf_counter()
    if sender(folder, port).wait() != 0:
        raise SystemExit("storescu failed")
    return time.perf_counter() - begin


def received(inbox: Path) -> list[Path]:
    """The files that came."""
    return list(inbox.rglob("*.dcm"))


def check(source: Path, inbox: Path) -> None:
    """Every data set is there, byte for byte, and nothing else is."""
    sent = {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path
        for path in source.rglob("*")
        if path.is_file()
    }
    came = {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in received(inbox)
    }
    equal = sum(data_set(sent[uid]) == data_set(came[uid]) for uid in sent if uid in came)
    left = len(list((inbox / ".incoming").iterdir()))
    print(
        f"  {equal} of {len(sent)} data sets byte-equal, {len(came) - equal} others, "
        f"{left} temporary files"
    )
    if not equal == len(sent) == len(came) or left:
        raise SystemExit("what came is not what was sent")


def rates(work: Path, source: Path, turns: int) -> None:
    """Images a second, ours and the peer's in turn."""
    slices = len(list(source.iterdir()))
    ours, theirs = [], []
    for turn in range(turns):
        inbox = work / f"inbox-{turn}"
        with receiver(inbox) as port:
            ours.append(slices / seconds(source, port))
        check(source, inbox)
        shutil.rmtree(inbox)
        with peer(work / f"peer-{turn}") as port:
            theirs.append(slices / seconds(source, port))
        shutil.rmtree(work / f"peer-{turn}")
    for name, found in (("medseg receive", ours), ("storescp (dcmtk)", theirs)):
        print(
            f"{name}: {statistics.median(found):.0f} images/s "
            f"({min(found):.0f}-{max(found):.0f}, {turns} turns)"
        )


def two_at_once(work: Path, source: Path) -> None:
    """Two senders of two studies at the same time."""
    print("Two senders of two studies, interleaved:")
    other = work / "other"
    write_ct(other, len(list(source.iterdir())) // 2)
    inbox = work / "inbox-two"
    both = work / "both"
    both.mkdir()
    for folder in (source, other):
        (both / folder.name).symlink_to(folder)
    with receiver(inbox) as port:
        first, second = sender(source, port), sender(other, port)
        if first.wait() or second.wait():
            raise SystemExit("a sender failed")
    studies = [path for path in inbox.iterdir() if not path.name.startswith(".")]
    print(
        f"  {len(studies)} studies of {sorted(len(list(one.iterdir())) for one in studies)} files"
    )
    merged = work / "merged"
    merged.mkdir()
    for number, path in enumerate([*source.iterdir(), *other.iterdir()]):
        os.link(path, merged / str(number))
    check(merged, inbox)


def dies_half_way(work: Path, source: Path) -> None:
    """A sender that is killed."""
    print("A sender that is killed half-way, and comes again:")
    inbox = work / "inbox-dies"
    with receiver(inbox) as port:
        first = sender(source, port)
        while len(received(inbox)) < len(list(source.iterdir())) // 2:
            time.sleep(0.05)
        first.kill()
        first.wait()
        time.sleep(1)
        left = len(list((inbox / ".incoming").iterdir()))
        print(f"  {len(received(inbox))} files, {left} temporary, after the kill")
        seconds(source, port)
    check(source, inbox)


def malformed(work: Path, source: Path, count: int) -> None:
    """Bytes that are no association, and a good sender after them."""
    print(f"{count} malformed associations, then a good one:")
    inbox = work / "inbox-bad"
    rng = np.random.default_rng(1)
    with receiver(inbox) as port:
        begin = time.perf_counter()
        for number in range(count):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
                one.settimeout(0.02)
                kind = number % 4
                if kind == 0:
                    one.sendall(secrets.token_bytes(int(rng.integers(1, 400))))
                elif kind == 1:  # an A-ASSOCIATE-RQ that claims far more than it holds
                    one.sendall(b"\x01\x00\xff\xff\xff\xff" + secrets.token_bytes(60))
                elif kind == 2:  # cut in its header
                    one.sendall(b"\x01\x00\x00")
                else:  # data before an association
                    one.sendall(b"\x04\x00\x00\x00\x00\x10" + secrets.token_bytes(16))
        last = time.perf_counter()
        print(f"  sent in {last - begin:.1f} s")
        while True:  # slots that a silent sender holds are given back after a time
            if sender(source, port).wait() == 0:
                break
            if time.perf_counter() - last > 120:
                raise SystemExit("no good sender was heard any more")
            time.sleep(1)
        print(
            f"  a good sender was heard {time.perf_counter() - last:.1f} s after the last bad one"
        )
    check(source, inbox)


def main() -> None:
    """Run all of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--slices", type=int, default=500)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--malformed", type=int, default=1000)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-receive-") as folder:
        work, source = Path(folder), Path(folder) / "ct"
        write_ct(source, chosen.slices)
        rates(work, source, chosen.turns)
        two_at_once(work, source)
        dies_half_way(work, source)
        malformed(work, source, chosen.malformed)


if __name__ == "__main__":
    main()
