"""From a DICOM or NIfTI study to every single lesion and organ as its own instance."""

__version__ = "0.1.0"
