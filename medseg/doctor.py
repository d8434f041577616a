"""Whether everything that medseg needs is here and whole."""

import importlib
from collections.abc import Iterator

from medseg import config
from medseg.errors import MedsegError

PACKAGES = ("torch", "monai", "SimpleITK", "nibabel", "pydicom", "cc3d", "skimage", "pyarrow")
"""Import names of the packages without which a run would fail halfway."""

_NOT_HERE = "cannot be imported; install medseg again from requirements.lock"


def check_installation() -> Iterator[tuple[str, str | None]]:
    """Yield each thing that was checked, and what is wrong with it or None."""
    for package in PACKAGES:
        yield f"package {package}", _import_fault(package)
    yield "package openvino", _openvino_fault()
    for name in config.embedded("protocols"):
        yield f"protocol {name}", _protocol_fault(name)
    for name in config.embedded("models"):
        yield f"model {name}", _model_fault(name)


def missing_extras() -> Iterator[tuple[str, str]]:
    """Yield what this machine lacks that a run can do without, and what that means."""
    from medseg.report import pdf

    fault = pdf.missing()
    if fault is not None:
        yield "report.pdf", fault.message


def _import_fault(package: str) -> str | None:
    try:
        importlib.import_module(package)
    except ImportError:
        return _NOT_HERE
    return None


def _openvino_fault() -> str | None:
    from medseg.model.onnx_network import runtime

    try:
        runtime()
    except ImportError:
        return _NOT_HERE
    return None


def _protocol_fault(name: str) -> str | None:
    try:
        config.load_card(config.load_protocol(name).segment.model)
    except MedsegError as error:
        return str(error)
    return None


def _model_fault(name: str) -> str | None:
    from medseg.model.load import load_model

    try:
        load_model(config.load_card(name), tile_overlap=0.25)
    except MedsegError as error:
        return str(error)
    return None
