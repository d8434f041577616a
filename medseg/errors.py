"""Every error that medseg raises on purpose, on one page.

Each has two sentences: what is wrong and what that means for the result; what to do next. Neither
may hold a patient identifier, a file name or a path: a series is named by its number in the study.
Errors cross process borders, so they take positional arguments only and pickle as they are.
"""

from typing import ClassVar


class MedsegError(Exception):
    """An error for the person who must act.

    Args:
        problem: What is wrong, and what that means for the result.
        remedy: What to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


class InputError(MedsegError):
    """The study is at fault."""

    exit_code = 3


class SettingsError(MedsegError):
    """The settings are at fault."""

    exit_code = 4


class ModelError(MedsegError):
    """The model bundle is at fault."""

    exit_code = 5


class ResourceError(MedsegError):
    """The machine is at fault; the only error that is retried."""

    exit_code = 75


class ExportMismatchError(MedsegError):
    """An export does not say what was measured; the only error that is a fault of medseg."""


class SourceNotFoundError(InputError):
    """There is nothing at the given path, or nothing that can be opened."""


class NoImageError(InputError):
    """The source holds no series that can be delineated."""


class NotAnImageError(InputError):
    """A file or series is of a kind that holds no volume (text, report, segmentation, ...)."""


class UnreadableFileError(InputError):
    """A file claims to be an image and cannot be decoded."""


class UnsupportedImageError(InputError):
    """An image whose layout medseg does not understand (4-D, colour, mosaic, ...)."""


class MissingGeometryError(InputError):
    """Nothing says where the voxels lie in the patient."""


class ImplausibleGeometryError(InputError):
    """The voxels are said to lie where no patient's can: a wrong unit or a wrong spacing."""


class ContradictoryGeometryError(InputError):
    """Two statements about where the voxels lie in the patient contradict each other."""


class InconsistentSeriesError(InputError):
    """The slices of a series do not form one volume (gap, duplicate, mixed orientation, ...)."""


class GeometryMismatchError(InputError):
    """Two volumes or label maps that must lie on one grid, or in one place, do not."""


class InvalidVoxelsError(InputError):
    """The voxels hold values that are not finite numbers."""


class SeriesChoiceError(InputError):
    """No series, or more than one, fits a role of the protocol."""


class UnitError(InputError):
    """The intensities are not in the unit that the protocol needs."""


class RunFolderError(InputError):
    """The run folder exists already, or is not one of ours."""


class PacsRefusalError(InputError):
    """A PACS does not take an object, or does not keep it."""


class PacsUnreachableError(ResourceError):
    """A PACS does not answer, or has no room now."""


class StudyTimedOutError(ResourceError):
    """A study of a worklist took longer than its limit, and was stopped."""


class StudyCrashedError(MedsegError):
    """The process that delineated a study of a worklist died by itself."""
