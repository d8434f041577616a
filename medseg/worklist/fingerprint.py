"""The identity of a study in a worklist: a hash of all that its result depends on.

It is found without parsing anything: the files are hashed as they are, so that a thousand finished
studies are recognised in seconds and a hostile file costs no more than a harmless one.
"""

import hashlib
import hmac
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from medseg import config
from medseg.config import MaskSettings, ModelCard, Protocol
from medseg.errors import SourceNotFoundError, UnreadableFileError
from medseg.formats import nifti
from medseg.formats.storage import PASSING_WHILE_READ, files_below, storage_fault
from medseg.manifest import file_digest
from medseg.stages import RECORDED_PACKAGES

NAMED = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".json")
"""Endings of files whose name may tell their role; that of a DICOM file says nothing."""


@dataclass(frozen=True)
class ListedStudy:
    """A study that is to be done.

    Attributes:
        number: In its worklist, from 1. It is how messages name the study.
        source: Folder of DICOM files, one NIfTI file, or a folder of NIfTI files.
        protocol: None chooses by what the study holds.
        series: Role to the file or folder that the user chose for it.
        mask: A peer's mask in place of a model.
    """

    number: int
    source: Path
    protocol: Protocol | None = None
    series: Mapping[str, Path] = field(default_factory=dict)
    mask: MaskSettings | None = None


def fingerprint(
    study: ListedStudy, secret: bytes | None = None, used: ModelCard | None = None
) -> str:
    """Hash what determines the outputs: files, settings, weights and versions.

    Args:
        study: Its files are read whole.
        secret: The site's, which its pseudonyms are keyed with: another secret, other outputs.
        used: The card of the user's that it was done with; None reads the one that is there now.

    Returns:
        64 hexadecimal digits. Moving or renaming a DICOM study does not change them.

    Raises:
        SourceNotFoundError: There is nothing at its path, or nothing but folders.
        UnreadableFileError: A file may not be read.
        ResourceError: The storage failed, or a file went away meanwhile.
        SettingsError: The card of the user's cannot be read.
    """
    protocol = study.protocol
    own = None
    if protocol is not None and config.is_path(protocol.segment.model):
        own = used or config.load_card(protocol.segment.model)
    keyed = None if secret is None else hmac.digest(secret, b"medseg worklist", "sha256").hex()
    parts = {
        "files": _content(study.source),
        "series": {role: _content(path) for role, path in sorted(study.series.items())},
        "mask": _mask(study.mask),
        "settings": None if protocol is None else config.plain(config.named(protocol, own)),
        "configs": _configs(None if protocol is None else protocol.segment.model, own),
        "versions": _versions(),
        "secret": keyed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(source: Path) -> Iterator[Path]:
    """Every file that a study is read from; of a NIfTI pair both."""
    if source.is_file():
        yield from nifti.files_of(nifti.header_half(source) or source)
    elif source.is_dir():
        yield from files_below(source)
    else:
        raise SourceNotFoundError(
            "There is nothing at the path of a study, so it was not done.",
            "Check the worklist, or that the storage is there.",
        )


def _content(source: Path) -> list[str]:
    """A line for each file, whatever the order and the place of the files."""
    lines: list[str] = []
    try:
        for path in _files(source):
            named = path.name.lower().endswith(NAMED)
            # A name may be a patient's, so it is in the hash alone.
            label = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()
            lines.append(f"{file_digest(path)} {label if named else ''}")
    except OSError as error:
        if error.errno in PASSING_WHILE_READ:
            raise storage_fault() from None
        raise UnreadableFileError(
            "A file of a study cannot be read, so the study was not done.",
            "Check the permissions of its files and that the storage is there, then run it again.",
        ) from None
    if not lines:
        raise SourceNotFoundError(
            "The folder of a study holds no file, so there is nothing to do.",
            "Check the worklist, or send the study again.",
        )
    return sorted(lines)


def _mask(mask: MaskSettings | None) -> object:
    if mask is None:
        return None
    settings = {name: value for name, value in config.plain(mask).items() if name != "path"}
    return {**settings, "file": _content(mask.path)}


def _configs(model: str | None, own: ModelCard | None) -> Mapping[str, object]:
    """The cards, which pin the weights, and the structures that a study may be done with.

    Args:
        model: The one that a protocol names; None where any embedded protocol may be chosen.
        own: The card of a model of the user's, which the others are no part of.
    """
    if own is not None:
        return _told((), (own,))
    return _embedded(model)


@cache
def _embedded(model: str | None) -> Mapping[str, object]:
    """Those of ours, read once: to parse them takes longer than to recognise a finished study."""
    protocols = [config.load_protocol(name) for name in config.embedded("protocols")]
    models = {one.segment.model for one in protocols} if model is None else {model}
    cards = [config.load_card(name) for name in sorted(models)]
    return _told(protocols if model is None else (), cards)


def _told(protocols: Sequence[Protocol], cards: Sequence[ModelCard]) -> Mapping[str, object]:
    return {
        "protocols": [config.plain(one) for one in protocols],
        "cards": {card.name: config.plain(card) for card in cards},
        "structures": {name: repr(one) for name, one in sorted(config.load_structures().items())},
    }


@cache
def _versions() -> Mapping[str, str]:
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("medseg", *RECORDED_PACKAGES)},
    }
