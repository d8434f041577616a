"""The door to DICOM Encapsulated PDF (PS3.3 A.45.1): the report as an object for a PACS."""

import hashlib
from pathlib import Path

from pydicom.uid import EncapsulatedPDFStorage

from medseg.core.report import NOT_FOR_DIAGNOSTIC_USE
from medseg.core.structures import Code
from medseg.formats.dicom_objects import (
    ObjectKind,
    ObjectRun,
    code_item,
    new_object,
    source_moment,
    write_object,
)

REPORT = ObjectKind("report", EncapsulatedPDFStorage, "DOC", 9005, "medseg report")

MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")


def write_pdf(path: Path, pdf: bytes, run: ObjectRun, *, names_patient: bool) -> None:
    """Write a PDF as a DICOM object, unverified.

    Args:
        path: The file.
        pdf: Its document.
        run: The run that made it.
        names_patient: Whether the document itself does; the object always does.
    """
    made = new_object(run, REPORT, hashlib.sha256(pdf).hexdigest())
    made.ConversionType = "WSD"
    made.ContentDate, made.ContentTime = source_moment(run.source)
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES" if names_patient else "NO"
    made.RecognizableVisualFeatures = "NO"
    made.DocumentTitle = f"medseg report. {NOT_FOR_DIAGNOSTIC_USE}"
    made.VerificationFlag = "UNVERIFIED"
    made.ConceptNameCodeSequence = [code_item(MEASUREMENT_REPORT)]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.EncapsulatedDocumentLength = len(pdf)
    write_object(path, made)
