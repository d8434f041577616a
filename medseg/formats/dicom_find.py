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
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
)

from medseg.errors import PacsRefusalError, PacsUnreachableError, SettingsError
from medseg.formats.dicom_association import SUCCESS, Caller, Node, associated
from medseg.formats.dicom_values import READING_FAULTS

PENDING = (0xFF00, 0xFF01)

MODALITIES = ("CT", "MR", "PT")
"""Of series that are asked for: results that medseg sent back must not change a study."""

RESULTS = ("SEG", "SR", "RTSTRUCT", "DOC")
"""Of series that medseg sends back: an archive that has them has no more images for it."""


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
    """How many objects an archive holds of the study that a file belongs to, but for our results.

    Args:
        file: Any DICOM file of the study.
        archive: That is asked.
        caller: Who asks.

    Returns:
        None where it does not say: it does not know the study, is away, or the file is no DICOM, or
        a deflated one, which may be a bomb.
    """
    study = _study_of(file)
    if not study:
        return None
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = study
    asked.NumberOfStudyRelatedInstances = None
    with _asking(archive, caller) as association:
        if association is None:
            return None
        try:
            answers = list(_find(association, asked))
            ours = [_images(one) for one in _series_of(association, study) if _is_ours(one)]
        except PacsRefusalError:
            return None
    numbers = (answer.get("NumberOfStudyRelatedInstances") for answer in answers)
    number = next((int(number) for number in numbers if number is not None), None)
    if number is None or None in ours:
        return None
    return number - sum(one for one in ours if one is not None)


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
    found: list[FoundSeries] = []
    with _asking(archive, caller) as association:
        if association is None:
            raise unreachable()
        studies = {str(answer.get("StudyInstanceUID", "")) for answer in _find(association, asked)}
        for study in sorted(studies - {""}):
            found += [
                FoundSeries(study, str(one.SeriesInstanceUID), _images(one))
                for one in _series_of(association, study)
                if one.get("Modality") in MODALITIES
            ]
    return tuple(found)


def unreachable() -> PacsUnreachableError:
    """The error of an archive that takes no association."""
    return PacsUnreachableError(
        "The archive takes no association, so its studies were not asked for.",
        "Check that it runs, its address, and that it knows our AE title.",
    )


def _study_of(file: Path) -> str:
    """Study Instance UID of a file; "" where it has none that is read without unpacking it."""
    try:
        syntax = read_file_meta_info(file).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:
            return ""
        read = dcmread(file, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
        return str(read.get("StudyInstanceUID", ""))
    except READING_FAULTS:
        return ""


def _series_of(association: Association, study: str) -> Iterator[Dataset]:
    asked = Dataset()
    asked.QueryRetrieveLevel = "SERIES"
    asked.StudyInstanceUID = study
    asked.SeriesInstanceUID = asked.Modality = ""
    asked.NumberOfSeriesRelatedInstances = None
    yield from _find(association, asked)


def _images(series: Dataset) -> int | None:
    images = series.get("NumberOfSeriesRelatedInstances")
    return None if images is None else int(images)


def _is_ours(series: Dataset) -> bool:
    """Whether a series holds results of ours (`dicom_attributes.derived_uid`)."""
    uid = str(series.get("SeriesInstanceUID", ""))
    return series.get("Modality") in RESULTS and uid.startswith("2.25.")


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
