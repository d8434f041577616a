import hashlib

import pytest
import torch

from medseg.config import InputSettings, NetworkSettings
from medseg.errors import ModelError
from medseg.model import weights
from medseg.model.networks.build import build

SETTINGS = NetworkSettings(channels=(3, 4), structures=("lesion",))
SEEN = InputSettings(roles=("pet",), spacing_mm=(5, 4, 3), clip=((0, 20),), tile=(4, 6, 8))


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / "w.safetensors"
    return path, weights.save(path, build(SETTINGS, SEEN).state_dict())


def test_the_digest_is_that_of_the_file(saved):
    path, sha256 = saved
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_come_back_within_half_precision(saved):
    torch.manual_seed(3)
    original = build(SETTINGS, SEEN).state_dict()
    for name, tensor in weights.read(*saved).items():
        assert tensor.dtype == original[name].dtype
        torch.testing.assert_close(tensor, original[name], rtol=2**-10, atol=1e-6)


def test_the_same_weights_make_the_same_file(saved, tmp_path):
    torch.manual_seed(3)
    again = weights.save(tmp_path / "again.safetensors", build(SETTINGS, SEEN).state_dict())
    assert again == saved[1]


def test_one_flipped_bit_is_refused(saved):
    path, sha256 = saved
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1
    path.write_bytes(bytes(stored))
    with pytest.raises(ModelError, match="were not opened"):
        weights.read(path, sha256)


def test_a_digest_is_checked_before_anything_is_parsed(saved, monkeypatch):
    path, _ = saved
    monkeypatch.setattr(weights, "parse", lambda _: pytest.fail("it was opened"))
    with pytest.raises(ModelError):
        weights.read(path, "0" * 64)


def test_missing_weights_are_a_fault_of_the_model(tmp_path):
    with pytest.raises(ModelError, match="missing") as caught:
        weights.read(tmp_path / "PATIENT.safetensors", "0" * 64)
    assert "PATIENT" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a pickle", b"\xff" * 64, b"\x08" + b"\0" * 7]
)
def test_a_file_of_another_kind_is_refused_even_with_its_digest(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors file"):
        weights.read(path, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "other",
    [
        NetworkSettings(channels=(3, 5), structures=("lesion",)),
        NetworkSettings(channels=(3, 4, 5), structures=("lesion",)),
        NetworkSettings(channels=(3, 4), structures=("lesion", "node")),
    ],
)
def test_a_card_of_another_network_is_refused(saved, other):
    with pytest.raises(ModelError, match="do not fit"):
        weights.put(weights.read(*saved), build(other, SEEN))
