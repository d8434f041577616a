"""The door to what an archive knows of a study: C-FIND at the study root (PS3.4 annex C)."""

from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
)

from medseg.formats.dicom_send import Node

PENDING = (0xFF00, 0xFF01)


def images_of_study(file: Path, archive: Node, title: str, timeout_seconds: float) -> int | None:
    """How many objects an archive holds of the study that a file belongs to.

    Args:
        file: Any DICOM file of the study.
        archive: That is asked.
        title: Our own application entity title.
        timeout_seconds: Longest wait for an answer.

    Returns:
        None where it does not say: it does not know the study, is away, or the file is no DICOM.
    """
    try:
        study = str(dcmread(file, specific_tags=["StudyInstanceUID"]).get("StudyInstanceUID", ""))
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return None
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = study
    asked.NumberOfStudyRelatedInstances = None
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_seconds
    entity.connection_timeout = timeout_seconds
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = entity.associate(archive.host, archive.port, ae_title=archive.title)
    if not (study and association.is_established):
        return None
    found: int | None = None
    for status, answer in association.send_c_find(
        asked, StudyRootQueryRetrieveInformationModelFind
    ):
        number = None if answer is None else answer.get("NumberOfStudyRelatedInstances")
        if status and status.Status in PENDING and number is not None:
            found = int(number)
    association.release()
    return found
