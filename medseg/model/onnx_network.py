"""A network as ONNX, run by OpenVINO on the CPU."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.errors import ModelError
from medseg.model.onnx_file import NotOnnxError, keeps_weights_elsewhere
from medseg.model.refusal import lacks, refused

Shape = tuple[int, int, int, int, int]

UNKNOWN = re.compile(r"No conversion rule found for operations: ([\w.:, -]*\w)")
"""What OpenVINO says of operators that it does not have."""


def runtime() -> ModuleType:
    """OpenVINO, which is imported here and nowhere else.

    Its import asks a server on the internet to count it, by the package openvino_telemetry if that
    is installed. So that package is hidden from it; it then takes a stub of its own
    (docs/decisions/0021).

    Raises:
        ImportError: OpenVINO is not installed.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # so Python hides one
    return importlib.import_module("openvino")


def opened(content: bytes, shape: Shape) -> Callable[[Tensor], object]:
    """What asks a network for its answer to a tile.

    Args:
        content: Of the file.
        shape: Of the tiles: 1, roles, and voxels along R, A and S.

    Raises:
        ModelError: It is no ONNX, has weights in other files, needs operators that OpenVINO does
            not have, or takes something else than such tiles.
    """
    _check_file(content)
    try:
        openvino = runtime()
    except ImportError:
        raise ModelError(
            "The network is ONNX, and OpenVINO, which runs it, is not installed, so nothing was "
            "predicted.",
            "Install medseg again from requirements.lock.",
        ) from None
    with translated():
        core = openvino.Core()
        model = core.read_model(content)
    _check_ports(model, openvino, shape)
    with translated():
        model.reshape(list(shape))
        compiled = core.compile_model(model, "CPU", settings())

    def ask(tile: Tensor) -> object:
        with translated():
            # A request of its own for each call: threads may share a model.
            said = compiled.create_infer_request().infer({0: tile.numpy()})
        return torch.from_numpy(np.array(said[0]))

    return ask


def settings() -> Mapping[str, object]:
    """How OpenVINO computes: as exactly as torch does, and with as many threads.

    Without being told it takes bfloat16 where the processor has it, which moved the logits of a
    small network by 2e-3, and pins its threads to cores, which two processes would share.
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,
    }


def _check_file(content: bytes) -> None:
    """Refuse what is no ONNX, and what is not whole.

    Raises:
        ModelError: It is one of these.
    """
    try:
        elsewhere = keeps_weights_elsewhere(content)
    except NotOnnxError:
        raise _no_onnx() from None
    if elsewhere:
        raise ModelError(
            "The ONNX file keeps weights in other files, which the digest of its card does not "
            "pin, so it was not opened.",
            "Export it as one file: torch.onnx.export(..., external_data=False).",
        )


def _check_ports(model: Any, openvino: ModuleType, shape: Shape) -> None:
    """Refuse a network that does not turn one array of the tiles' shape into one array.

    Raises:
        ModelError: It is such a network.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise refused(
            f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs, and one of each is "
            "needed",
            "Export it with one output, without deep supervision, and with the roles of its card "
            "as channels of one input.",
        )
    taken = model.inputs[0]
    wanted = " x ".join(map(str, shape))
    if not taken.partial_shape.compatible(openvino.PartialShape(list(shape))):
        raise refused(
            f"takes {taken.partial_shape.to_string()}, and its card gives tiles of {wanted} "
            "(1, roles, voxels along R, A and S)",
            "Correct input.roles or input.tile of the card, or export it for such tiles.",
        )
    if taken.element_type != openvino.Type.f32:
        raise refused(
            f"takes {taken.element_type.to_string()}, and tiles are float32",
            "Export it in float32.",
        )
    # OpenVINO hands on the bits of a type that numpy lacks as numbers of one that it has.
    if model.outputs[0].element_type not in (
        openvino.Type.f32,
        openvino.Type.f64,
        openvino.Type.f16,
    ):
        raise refused(
            f"gives {model.outputs[0].element_type.to_string()}, and logits are read as float32, "
            "float64 or float16",
            "Export it so that it gives logits (float32).",
        )


@contextmanager
def translated() -> Iterator[None]:
    """Raise what OpenVINO says as an error of ours.

    Raises:
        ModelError: It cannot read or run the network.
        MemoryError: It found no memory.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:  # also where its message is no UTF-8
        if "alloc" in str(error):
            raise MemoryError from None
        unknown = UNKNOWN.search(str(error))
        if unknown is not None:
            raise lacks(unknown[1], "OpenVINO", "TorchScript") from error
        raise _no_onnx() from error


def _no_onnx() -> ModelError:
    return refused(
        "cannot be read or run as ONNX",
        "Write it with torch.onnx.export, and check it with onnx.checker.check_model(FILE, True).",
    )
