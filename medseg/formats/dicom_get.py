"""The door to an archive's studies: C-FIND and C-GET at the study root (PS3.4 annex C).

Series of images alone are asked for: results that medseg sent back must not change a study.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import uid
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from medseg.errors import PacsRefusalError, PacsUnreachableError, SettingsError
from medseg.formats.dicom_find import PENDING
from medseg.formats.dicom_receive import SUCCESS, Keep, store
from medseg.formats.dicom_send import Node

MODALITIES = ("CT", "MR", "PT")

CLASSES = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
)

SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.RLELossless,
)
"""Each is offered by itself, so that an archive sends what it has; 9 x 12 is below the 128 that an
association may have."""


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


def find_series(
    archive: Node, title: str, keys: Mapping[str, str], timeout_seconds: float
) -> tuple[FoundSeries, ...]:
    """Find the series of CT, MR and PET of the studies that match.

    Args:
        archive: That is asked.
        title: Our own application entity title.
        keys: Keywords of DICOM and what they must match, at the level of the study.
        timeout_seconds: Longest wait for an answer.

    Raises:
        SettingsError: A keyword is none.
        PacsUnreachableError: The archive does not answer.
        PacsRefusalError: It refuses to be asked.
    """
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
    contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    found = []
    with _associated(archive, title, timeout_seconds, contexts) as association:
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


def get_series(
    archive: Node, title: str, wanted: Sequence[FoundSeries], keep: Keep, timeout_seconds: float
) -> bool:
    """Retrieve series by C-GET; each data set is kept as it came.

    Returns:
        Whether the archive sent all that it has of them.

    Raises:
        PacsUnreachableError: The archive does not answer.
    """
    contexts = [build_context(name, syntax) for name in CLASSES for syntax in SYNTAXES]
    contexts.append(build_context(StudyRootQueryRetrieveInformationModelGet))
    whole = True
    with _associated(archive, title, timeout_seconds, contexts, keep) as association:
        for one in wanted:
            asked = Dataset()
            asked.QueryRetrieveLevel = "SERIES"
            asked.StudyInstanceUID = one.study
            asked.SeriesInstanceUID = one.series
            last = None
            for status, _ in association.send_c_get(
                asked, StudyRootQueryRetrieveInformationModelGet
            ):
                last = status.get("Status")
            whole = whole and last == SUCCESS
    return whole


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


@contextmanager
def _associated(
    archive: Node,
    title: str,
    timeout_seconds: float,
    contexts: list[PresentationContext],
    keep: Keep | None = None,
) -> Iterator[Association]:
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_seconds
    entity.connection_timeout = timeout_seconds
    unreachable = PacsUnreachableError(
        "The archive takes no association, so its studies were not asked for.",
        "Check that it runs, its address, and that it knows our AE title.",
    )
    try:
        association = entity.associate(
            archive.host,
            archive.port,
            contexts=contexts,
            ae_title=archive.title,
            ext_neg=[] if keep is None else [build_role(name, scp_role=True) for name in CLASSES],
            evt_handlers=[] if keep is None else [(evt.EVT_C_STORE, store, [keep])],
        )
    except OSError:
        raise unreachable from None  # nobody knows the host
    if not association.is_established:
        raise unreachable
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
