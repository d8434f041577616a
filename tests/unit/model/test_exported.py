"""Exported networks, against the networks that they were exported from; and all that misfits."""

import dataclasses
import pickle
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from scipy.special import logit, softmax
from torch import nn

from medseg.config import ExportedSettings, InputSettings, ModelCard, NetworkSettings
from medseg.errors import MedsegError, ModelError
from medseg.model import onnx_network
from medseg.model.exported import load_exported, log_odds
from medseg.model.networks.build import build
from medseg.model.normalise import normalise
from medseg.model.onnx_file import NotOnnxError, keeps_weights_elsewhere
from medseg.model.predict import TiledModel
from tests import exports

TILE = (12, 8, 16)
SEEN = InputSettings(
    roles=("pet", "ct"),
    spacing_mm=(5, 4, 3),
    clip=((0, 20), (-1000, 1000)),
    tile=TILE,
    whole_tiles=True,
)
ONE = ExportedSettings(
    family="exported", activation="sigmoid", tile_step=(2, 2, 2), structures=("lesion",)
)


@pytest.fixture
def model_of(card):
    """A model from the bytes of a file with an ending."""

    def made(content: bytes, ending: str, network=ONE, seen=SEEN) -> TiledModel:
        changes = {"weights": f"w{ending}", "network": network, "input": seen}
        whole = ModelCard.model_validate({**card.model_dump(), **changes})
        return TiledModel(whole, load_exported(content, whole, network), tile_overlap=0.5)

    return made


def tile(channels: int = 2) -> torch.Tensor:
    return torch.rand((1, channels, *TILE), generator=torch.Generator().manual_seed(1))


class Of(nn.Module):
    """A network that does one thing."""

    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(x)


@pytest.mark.parametrize("how", ["torchscript", "onnx", "onnx by default"])
@pytest.mark.parametrize("norm", ["voxel", "crop"])
def test_a_network_of_ours_says_the_same_once_it_is_exported(
    card, model_of, study, tmp_path, how, norm
):
    ours = NetworkSettings(channels=(3, 4, 5), structures=("lesion", "liver"), norm=norm)
    torch.manual_seed(2)
    network = build(ours, SEEN).eval()
    nn.init.normal_(network.head.weight, std=5)
    whole = ModelCard.model_validate({**card.model_dump(), "network": ours, "input": SEEN})
    expected = TiledModel(whole, network, tile_overlap=0.5).predict(study)
    same = ExportedSettings(
        family="exported",
        activation="sigmoid",
        tile_step=ours.step(SEEN.spacing_mm),
        structures=ours.structures,
        centre_heatmap=True,
        offsets=True,
    )
    if how == "torchscript":
        model = model_of(exports.torchscript(network, tile()), ".ts", same)
    elif how == "onnx":
        model = model_of(exports.onnx(network, tile()), ".onnx", same)
    else:
        path = tmp_path / "w.onnx"
        content = exports.onnx_by_default(network, tile(), path, external_data=False)
        model = model_of(content, ".onnx", same)
    said, again = model.predict(study), model.predict(study)
    assert expected.probabilities.std() > 0.1
    np.testing.assert_allclose(said.probabilities, expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(said.centre_heatmap, expected.centre_heatmap, atol=1e-4)
    np.testing.assert_allclose(said.offsets_mm, expected.offsets_mm, atol=1e-3)
    np.testing.assert_array_equal(said.probabilities, again.probabilities)


@pytest.mark.parametrize("ending", [".pt", ".onnx"])
def test_threads_that_predict_at_once_get_the_same(model_of, study, ending):
    network = nn.Conv3d(2, 1, 3, padding=1)
    export = exports.onnx if ending == ".onnx" else exports.torchscript
    model = model_of(export(network, tile()), ending)
    alone = model.predict(study).probabilities
    with ThreadPoolExecutor(4) as pool:
        for said in pool.map(lambda _: model.predict(study).probabilities, range(8)):
            np.testing.assert_array_equal(said, alone)


def test_a_softmax_over_background_and_structures_is_made_probabilities(model_of, study):
    torch.manual_seed(3)
    network = nn.Conv3d(2, 3, 1)
    nn.init.normal_(network.weight, std=3)
    settings = ExportedSettings(
        family="exported",
        activation="softmax",
        tile_step=(2, 2, 2),
        structures=("liver", "lesion"),
    )
    said = model_of(exports.torchscript(network, tile()), ".pt", settings).predict(study)
    data = np.stack([study.data[0] / 20, (study.data[1] + 1000) / 2000]).clip(0, 1)
    weight = network.weight.detach().numpy().reshape(3, 2)
    logits = np.tensordot(weight, data, 1) + network.bias.detach().numpy().reshape(3, 1, 1, 1)
    expected = softmax(logits, axis=0)[1:]
    assert expected.std() > 0.05
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-5)
    assert said.structures == ("liver", "lesion")


def test_the_heads_after_a_softmax_stay_as_they_are():
    settings = ExportedSettings(
        family="exported",
        activation="softmax",
        tile_step=(1, 1, 1),
        structures=("lesion",),
        centre_heatmap=True,
        offsets=True,
    )
    said = torch.randn((1, 6, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    made = log_odds(said, settings).numpy()
    assert made.shape == (1, 5, 2, 3, 4)
    expected = logit(softmax(said[:, :2].double().numpy(), axis=1)[:, 1])
    np.testing.assert_allclose(made[:, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(made[:, 1:], said[:, 2:])


WRONG = {
    "two channels for one": (
        lambda x: torch.cat([x, x], 1)[:, :2],
        "gives 2 channels .* 1 .lesion",
    ),
    "half as large": (lambda x: x[:, :1, ::2], r"1 x 1 x 6 x 8 x 16 for a tile of 1 x 2 x 12"),
    "without a batch": (lambda x: x[0, :1], "1 x 12 x 8 x 16 for a tile"),
    "no numbers": (lambda x: torch.log(x[:, :1] - 2), "no finite numbers"),
    "infinite": (lambda x: 1 / (x[:, :1] * 0), "no finite numbers"),
    "labels": (lambda x: (x[:, :1] > 0.5).long(), "whole numbers|gives i64"),
    "probabilities": (lambda x: torch.sigmoid(x[:, :1] * 9 - 4), "probabilities already"),
}
WRONG_AS_TORCHSCRIPT = {
    "sparse": (lambda x: x[:, :1].to_sparse(), "gives a sparse array"),
    "complex": (lambda x: torch.complex(x[:, :1], x[:, 1:]), "gives complex numbers"),
    "of 8 bits": (lambda x: x[:, :1].to(torch.float8_e4m3fn), "gives torch.float8_e4m3fn"),
}
"""What an ONNX file cannot say."""


def test_logits_of_another_precision_are_read_as_the_numbers_that_they_are(model_of):
    for kind in (TensorProto.FLOAT16, TensorProto.DOUBLE):
        said = model_of(cast(kind), ".onnx").network.ask(torch.full((1, 2, *TILE), 3.25))
        assert (said == 3.25).all()


@pytest.mark.parametrize(
    ("wrong", "ending"),
    [*product(WRONG, (".pt", ".onnx")), *product(WRONG_AS_TORCHSCRIPT, (".pt",))],
)
def test_what_gives_something_else_than_its_card_says_is_refused(model_of, study, wrong, ending):
    what, message = (WRONG | WRONG_AS_TORCHSCRIPT)[wrong]
    export = exports.onnx if ending == ".onnx" else exports.torchscript
    content = export(Of(what), tile())
    with pytest.raises(ModelError, match=message):
        model_of(content, ending).predict(study)


def test_logits_that_are_small_are_no_probabilities(model_of, study):
    """Both ways: what is below 0 or above 1 anywhere is a logit."""
    pet = normalise(study.data, SEEN)[0]
    for what in (lambda x: x[:, :1] - 0.01, lambda x: x[:, :1] + 0.01):
        said = model_of(exports.torchscript(Of(what), tile()), ".pt").predict(study)
        expected = torch.from_numpy(pet)[None, None]
        np.testing.assert_allclose(said.probabilities[0], what(expected)[0, 0].sigmoid(), atol=1e-5)


def test_the_classes_of_a_softmax_are_told_from_their_probabilities(model_of, study):
    settings = ONE.model_copy(update={"activation": "softmax"})
    logits = Of(lambda x: x * 0.9)
    model_of(exports.torchscript(logits, tile()), ".pt", settings).predict(study)
    with pytest.raises(ModelError, match="without its final softmax"):
        made = exports.torchscript(Of(lambda x: x.softmax(1)), tile())
        model_of(made, ".pt", settings).predict(study)


class Nameless(nn.Module):
    @torch.jit.export
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x[:, :1] + y[:, :1]


class Deep(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :1] - 2, x[:, :1, ::2] - 2


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            raise ValueError("of /home/nobody/network.py")
        return x


class Large(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.empty([10000000000000]) + x


def test_torchscript_that_cannot_be_asked_is_refused(model_of, study):
    for network, message in (
        (Two(), "missing value for argument 'y'"),
        (Deep(), "more than one answer"),
        (Raises(), "failed on a tile, so nothing"),
        (nn.Conv3d(3, 1, 1), "expected input.* to have 3 channels"),
        (Nameless(), "has no method `forward`"),
    ):
        with pytest.raises(ModelError, match=message) as refused:
            model_of(exports.scripted(network), ".pt").predict(study)
        assert "nobody" not in str(refused.value)
    with pytest.raises(MemoryError):
        model_of(exports.scripted(Large()), ".pt").predict(study)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def rezipped(content: bytes, change) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return made.getvalue()


def saved(what: object) -> bytes:
    made = BytesIO()
    torch.save(what, made)
    return made.getvalue()


def test_what_is_no_torchscript_is_refused_and_nothing_is_unpickled(
    model_of, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    good = exports.torchscript(nn.Conv3d(2, 1, 1), tile())
    evil = pickle.dumps(Evil(), 2)
    for content in (
        b"",
        b"no network" * 99,
        good[: len(good) // 2],
        saved(nn.Conv3d(2, 1, 1)),
        saved(nn.Conv3d(2, 1, 1).state_dict()),
        saved(Evil()),
        evil,
        rezipped(good, lambda name, data: evil if name.endswith("data.pkl") else data),
        rezipped(good, lambda name, data: evil if name.endswith("constants.pkl") else data),
        exports.onnx(nn.Conv3d(2, 1, 1), tile()),
    ):
        with pytest.raises(ModelError, match="is no TorchScript"):
            model_of(content, ".pt")
    assert not Path("executed").exists()
    pickle.loads(evil)  # noqa: S301  what would have been done
    assert Path("executed").exists()


def test_an_operator_that_torch_does_not_have_is_named(model_of):
    good = exports.scripted(nn.Conv3d(2, 1, 1))
    other = rezipped(good, lambda _, data: data.replace(b"torch.conv3d", b"ops.torchvision.nms"))
    with pytest.raises(ModelError, match="needs torchvision::nms, which torch"):
        model_of(other, ".pt")


def graph(nodes, inputs=None, gives=None, initializers=(), kind=TensorProto.FLOAT, **more) -> bytes:
    takes = inputs or [helper.make_tensor_value_info("x", kind, (1, 2, "i", "j", "k"))]
    gives = gives or [helper.make_tensor_value_info("y", kind, None)]
    made = helper.make_graph(nodes, "g", takes, gives, list(initializers))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ours", 1)]
    whole = helper.make_model(made, opset_imports=opsets, ir_version=10, **more)
    return whole.SerializeToString()


def relu(**options) -> bytes:
    return graph([helper.make_node("Relu", ["x"], ["y"])], **options)


def cast(kind: int) -> bytes:
    gives = helper.make_tensor_value_info("y", kind, None)
    return graph([helper.make_node("Cast", ["x"], ["y"], to=kind)], gives=[gives])


def test_onnx_that_cannot_be_run_is_refused(model_of):
    two = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 1, *TILE)) for n in "xz"]
    weight = numpy_helper.from_array(np.ones((1, 3, 3, 3, 3), np.float32), "w")
    sizes = {
        "channels": (1, 3, "i", "j", "k"),
        "tile": (1, 2, 16, 16, 16),
        "rank": (1, 2, "i", "j"),
    }
    other = {
        name: relu(inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)])
        for name, shape in sizes.items()
    }
    whole = relu()
    for content, message in (
        (b"", "cannot be read or run as ONNX"),
        (b"no network" * 99, "cannot be read or run as ONNX"),
        (b"<?xml version='1.0'?><net/>", "cannot be read or run as ONNX"),
        (whole[: len(whole) // 2], "cannot be read or run as ONNX"),
        (exports.torchscript(nn.Conv3d(2, 1, 1), tile()), "cannot be read or run as ONNX"),
        (graph([helper.make_node("Relu", ["z"], ["y"])]), "cannot be read or run as ONNX"),
        (graph([helper.make_node("Odd", ["x"], ["y"], domain="ours")]), "needs ours.Odd, which"),
        (graph([helper.make_node("Add", ["x", "z"], ["y"])], inputs=two), "2 inputs and 1 outputs"),
        (
            graph(
                [helper.make_node("Split", ["x"], ["y", "z"], num_outputs=2, axis=1)],
                gives=[helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "yz"],
            ),
            "1 inputs and 2 outputs",
        ),
        (other["channels"], r"takes \[1,3,.*tiles of 1 x 2 x 12 x 8 x 16"),
        (other["tile"], r"takes \[1,2,16,16,16\]"),
        (other["rank"], r"tiles of 1 x 2 x 12 x 8 x 16"),
        (relu(kind=TensorProto.FLOAT16), "takes f16"),
        (cast(TensorProto.BFLOAT16), "gives bf16, and logits are read as float32"),
        (cast(TensorProto.FLOAT8E4M3FN), "gives f8e4m3, and"),
        (cast(TensorProto.INT4), "gives i4, and"),
        (cast(TensorProto.BOOL), "gives boolean, and"),
        (
            graph([helper.make_node("Conv", ["x", "w"], ["y"])], initializers=[weight]),
            "cannot be read or run as ONNX",
        ),
    ):
        with pytest.raises(ModelError, match=message):
            model_of(content, ".onnx")


def varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def elsewhere(place: str, **more: str):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(1, 2, 1, 1, 1))
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": place, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_weights_in_another_file_are_refused_wherever_the_model_names_them(
    model_of, tmp_path, monkeypatch
):
    """The digest does not pin them, and OpenVINO looks for them from the working directory on."""
    monkeypatch.chdir(tmp_path)
    Path("w.bin").write_bytes(np.ones(2, np.float32).tobytes())
    conv = [helper.make_node("Conv", ["x", "w"], ["y"])]
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere("w.bin"))
    branch = helper.make_graph(
        [constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, None)]
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    both = helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch)
    inside = helper.make_node("Constant", [], ["w"])
    inside.attribute.add(name="value", ref_attr_name="value", type=AttributeProto.TENSOR)
    function = helper.make_function(
        "ours",
        "F",
        ["x"],
        ["y"],
        [inside, *conv],
        [helper.make_opsetid("", 21)],
        attribute_protos=[helper.make_attribute("value", elsewhere("w.bin"))],
    )
    called = helper.make_node("F", ["x"], ["y"], domain="ours")
    for content in (
        graph(conv, initializers=[elsewhere("w.bin")]),
        graph(conv, initializers=[elsewhere("../../etc/passwd")]),
        graph(conv, initializers=[elsewhere("*/_ORT_MEM_ADDR_/*", offset="4096", length="8")]),
        graph([constant, *conv]),
        graph([both, *conv], initializers=[yes]),
        graph([called], functions=[function]),
    ):
        assert keeps_weights_elsewhere(content)
        with pytest.raises(ModelError, match="weights in other files"):
            model_of(content, ".onnx")
    inside = numpy_helper.from_array(np.ones((1, 2, 1, 1, 1), np.float32), "w")
    assert not keeps_weights_elsewhere(graph(conv, initializers=[inside]))


def test_what_the_default_exporter_writes_beside_is_refused_with_the_way_out(model_of, tmp_path):
    content = exports.onnx_by_default(nn.Conv3d(2, 8, 5, padding=2), tile(), tmp_path / "w.onnx")
    assert (tmp_path / "w.onnx.data").stat().st_size >= 8000
    with pytest.raises(ModelError, match="external_data=False"):
        model_of(content, ".onnx")


def test_a_file_that_was_cut_or_changed_anywhere_ends_in_words(model_of):
    """Nothing but an error of ours, or a network; never a traceback."""
    rng = np.random.default_rng(7)
    whole = graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        initializers=[numpy_helper.from_array(np.ones((1, 2, 1, 1, 1), np.float32), "w")],
    )
    refused = 0
    for n in range(60):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        content = bytes(changed if n % 2 else changed[: rng.integers(len(whole))])
        try:
            model_of(content, ".onnx")
        except ModelError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize(
    "content", [b"\x3a", b"\x3a\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 11]
)
def test_a_length_beyond_the_end_is_no_onnx(content):
    with pytest.raises(NotOnnxError):
        keeps_weights_elsewhere(content)


@pytest.mark.parametrize(
    "tag",
    [
        varint((13 + 2**29) << 3 | 2),  # 13, where data lies, to who drops the bits above 32
        varint(2**64 - 1),
        b"\xea\x00",
        b"\x02",
        b"\x00",
    ],
)
def test_a_tag_that_another_reader_may_read_as_another_field_is_no_onnx(model_of, tag):
    tensor = b"\x2a" + varint(len(tag) + 1) + tag + b"\x00"
    content = b"\x3a" + varint(len(tensor)) + tensor
    with pytest.raises(NotOnnxError, match=r"tag \d+ in"):
        keeps_weights_elsewhere(content)
    with pytest.raises(ModelError, match="cannot be read or run as ONNX"):
        model_of(content, ".onnx")


def test_graphs_within_graphs_end():
    inner = b""
    for _ in range(3000):
        attribute = b"\x32" + varint(len(inner)) + inner
        node = b"\x2a" + varint(len(attribute)) + attribute
        inner = b"\x0a" + varint(len(node)) + node
    assert not keeps_weights_elsewhere(b"\x3a" + varint(len(inner)) + inner)


def test_structures_without_a_title_and_a_code_are_refused(model_of):
    network = ONE.model_copy(update={"structures": ("tumour", "lesion")})
    with pytest.raises(MedsegError, match=r"names the structures tumour.*lesion, brain"):
        model_of(exports.torchscript(nn.Conv3d(2, 2, 1), tile()), ".pt", network)


def test_it_computes_as_exactly_as_torch_and_with_its_threads(model_of):
    """A processor with bfloat16 would be used otherwise, and then 1e-4 is not kept above."""
    assert onnx_network.settings()["INFERENCE_PRECISION_HINT"] == "f32"
    assert onnx_network.settings()["INFERENCE_NUM_THREADS"] == torch.get_num_threads()


COUNTING = """
import socket, sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket") else None)
from medseg.model.onnx_network import opened
from tests.unit.model.conftest import SHAPE
content = open(sys.argv[1], "rb").read()
import torch
opened(content, (1, 2, 12, 8, 16))(torch.ones(1, 2, 12, 8, 16))
print(sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name]), asked)
"""


def test_openvino_is_kept_from_telling_anyone(tmp_path):
    """The package that it counts its users with is here in name, and would end the process."""
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('COUNTED')\n")
    (tmp_path / "w.onnx").write_bytes(exports.onnx(nn.Conv3d(2, 1, 1), tile()))
    path = [str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, tmp_path / "w.onnx"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    stub = ["openvino.tools.ovc.telemetry_params", "openvino.tools.ovc.telemetry_stub"]
    assert done.stdout.startswith(str(stub)[:-1]), done.stdout
    assert done.stdout.strip().endswith("[]")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openvino_telemetry.py", "w.onnx"]


def test_the_model_is_a_tiled_one_like_ours(model_of):
    model = model_of(exports.torchscript(nn.Conv3d(2, 1, 1), tile()), ".pt")
    assert model.roles == ("pet", "ct")
    assert dataclasses.replace(model, tile_overlap=0).spacing_mm == (5, 4, 3)
