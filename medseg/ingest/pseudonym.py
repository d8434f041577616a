"""Names for a study and a patient that no one can trace back without the site's secret."""

from collections.abc import Iterable

from medseg.core.study import pseudonym
from medseg.formats.dicom_stack import Stack
from medseg.ingest.accept import AcceptedSeries


def pseudonyms(
    secret: bytes | None, chosen: Iterable[AcceptedSeries]
) -> tuple[str | None, str | None]:
    """Name a study and its patient.

    Args:
        secret: The site's, or None.
        chosen: The series of the study.

    Returns:
        The study's name, the same wherever this site meets it, and the patient's, the same for all
        studies of theirs. None without a secret, and where the series state none or several.
    """
    if secret is None:
        return None, None
    stacks = [one.content for one in chosen if isinstance(one.content, Stack)]
    traits = [one.file.traits for stack in stacks for one in stack.slices]
    studies, patients = {one.study for one in traits}, {one.patient for one in traits}
    return _keyed(secret, "study", studies), _keyed(secret, "patient", patients)


def _keyed(secret: bytes, kind: str, values: set[str]) -> str | None:
    """The name of the one value; None where there is none, or several."""
    value = next(iter(values)) if len(values) == 1 else ""
    return pseudonym(secret, kind, value) if value else None
