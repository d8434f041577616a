"""The door to an archive's studies: C-GET at the study root (PS3.4 annex C)."""

from collections.abc import Sequence

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelGet,
)

from medseg.formats.dicom_association import SUCCESS, Caller, Node, associated
from medseg.formats.dicom_find import FoundSeries, unreachable
from medseg.formats.dicom_receive import Keep, store

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
    uid.SecondaryCaptureImageStorage,  # pictures of the dose and the like, in series of CT
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
"""Each is offered by itself, so that an archive sends what it has; 10 x 12 is below the 128 that an
association may have."""


def get_series(archive: Node, caller: Caller, wanted: Sequence[FoundSeries], keep: Keep) -> bool:
    """Retrieve series by C-GET; each data set is kept as it came.

    Args:
        archive: That is asked.
        caller: Who asks.
        wanted: The series.
        keep: Keeps a data set.

    Returns:
        Whether the archive sent all that it has of them.

    Raises:
        PacsUnreachableError: The archive does not answer.
    """
    contexts = [build_context(name, syntax) for name in CLASSES for syntax in SYNTAXES]
    contexts.append(build_context(StudyRootQueryRetrieveInformationModelGet))
    roles = [build_role(name, scp_role=True) for name in CLASSES]
    handlers = [(evt.EVT_C_STORE, store, [keep])]
    whole = True
    with associated(archive, caller, contexts, roles=roles, handlers=handlers) as association:
        if association is None:
            raise unreachable()
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
