"""The door to what an archive knows: C-FIND at the study root (PS3.4 annex C)."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
)

from medseg.errors import PacsRefusalError, PacsUnreachableError, SettingsError
from medseg.formats.dicom_association import Caller, Node, associated

SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)

MODALITIES = ("CT", "MR", "PT")
"""Of series that are asked for: results that medseg sent back must not change a study."""


@dataclass(frozen=True)
class FoundSeries:
    """A series of images that an archive has.

    Attributes:
        study, series: Its UIDs.
        images: How many it has; None where the archive does not say.
    """

    study: str
    series: str
    images: int | None


def images_of_study(file: Path, archive: Node, caller: Caller) -> int | None:
    """How many objects an archive holds of the study that a file belongs to.

    Args:
        file: Any DICOM file of the study.
        archive: That is asked.
        caller: Who asks.

    Returns:
        None where it does not say: it does not know the study, is away, or the file is no DICOM.
    """
    try:
        study = str(dcmread(file, specific_tags=["StudyInstanceUID"]).get("StudyInstanceUID", ""))
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return None
    if not study:
        return None
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = study
    asked.NumberOfStudyRelatedInstances = None
    with _asking(archive, caller) as association:
        try:
            answers = [] if association is None else list(_find(association, asked))
        except PacsRefusalError:
            return None
    numbers = (answer.get("NumberOfStudyRelatedInstances") for answer in answers)
    return next((int(number) for number in numbers if number is not None), None)


def find_series(archive: Node, caller: Caller, keys: Mapping[str, str]) -> tuple[FoundSeries, ...]:
    """Find the series of CT, MR and PET of the studies that match.

    Args:
        archive: That is asked.
        caller: Who asks.
        keys: Keywords of DICOM and what they must match, at the level of the study.

    Raises:
        SettingsError: A keyword is none.
        PacsUnreachableError: The archive does not answer.
        PacsRefusalError: It refuses to be asked.
    """
    asked = _of_studies(keys)
    found = []
    with _asking(archive, caller) as association:
        if association is None:
            raise unreachable()
        studies = {str(answer.get("StudyInstanceUID", "")) for answer in _find(association, asked)}
        for study in sorted(studies - {""}):
            series = Dataset()
            series.QueryRetrieveLevel = "SERIES"
            series.StudyInstanceUID = study
            series.SeriesInstanceUID = series.Modality = ""
            series.NumberOfSeriesRelatedInstances = None
            for one in _find(association, series):
                name, images = str(one.SeriesInstanceUID), one.get("NumberOfSeriesRelatedInstances")
                if one.get("Modality") in MODALITIES:
                    found.append(FoundSeries(study, name, None if images is None else int(images)))
    return tuple(found)


def unreachable() -> PacsUnreachableError:
    """The error of an archive that takes no association."""
    return PacsUnreachableError(
        "The archive takes no association, so its studies were not asked for.",
        "Check that it runs, its address, and that it knows our AE title.",
    )


def _asking(archive: Node, caller: Caller) -> AbstractContextManager[Association | None]:
    contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    return associated(archive, caller, contexts)


def _of_studies(keys: Mapping[str, str]) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = ""
    for keyword, value in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None or dictionary_VR(tag) == "SQ":
            raise SettingsError(
                "A key of the query is no keyword of DICOM, so nothing was asked.",
                "Write for example StudyDate, ModalitiesInStudy or StudyDescription.",
            )
        # Unchecked, because * and ? match anything here, and a warning would print the value.
        asked.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return asked


def _find(association: Association, asked: Dataset) -> Iterator[Dataset]:
    for status, answer in association.send_c_find(
        asked, StudyRootQueryRetrieveInformationModelFind
    ):
        if status.get("Status") not in (*PENDING, SUCCESS):
            raise PacsRefusalError(
                "The archive did not answer the query to its end, so nothing was done.",
                "See its log; it may not know our AE title or one of the keys.",
            )
        if answer is not None:
            yield answer
