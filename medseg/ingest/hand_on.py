"""A study from its files to the folder from which the next stage reads it."""

from collections.abc import Mapping
from pathlib import Path

from medseg import config
from medseg.config import Protocol
from medseg.core.study import Study
from medseg.formats import handover
from medseg.ingest import select


def hand_on(
    source: Path, folder: Path, protocol: Protocol | None, overrides: Mapping[str, Path]
) -> Protocol:
    """Choose the series, read their voxels, and write the study.

    Args:
        source: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        folder: Where `handover` writes.
        protocol: What to do; None chooses by what the study holds.
        overrides: Role to the file or folder that the user chose for it.

    Returns:
        The protocol.

    Raises:
        InputError: As `select.choose_protocol` and `select.read_study`.
    """
    why = "asked for by the user"
    if protocol is None:
        known = [config.load_protocol(name) for name in config.embedded("protocols")]
        protocol, why = select.choose_protocol(source, known)
    study = select.read_study(source, protocol, overrides)
    handover.write_study(folder, Study(study.series, {"protocol": why, **study.choice}))
    return protocol
