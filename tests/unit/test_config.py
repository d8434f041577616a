from pathlib import Path

import pytest

from medseg import config
from medseg.config import Protocol
from medseg.errors import SettingsError
from medseg.training.settings import TrainingSettings


def test_every_embedded_file_is_valid_and_named_after_its_file() -> None:
    for name in config.embedded("protocols"):
        assert config.load_protocol(name).name == name
    for name in config.embedded("models"):
        assert config.load_card(name).name == name
    for name in config.embedded("training"):
        assert config.load(TrainingSettings, name, "training").name == name
    assert config.embedded("protocols")


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    values = dict(config.plain(config.load_protocol("pet-lesions"))) | {"colour": "red"}
    with pytest.raises(SettingsError, match="colour"):
        config.parse(Protocol, values)


def test_a_protocol_needs_a_required_main_role() -> None:
    values = dict(config.plain(config.load_protocol("pet-lesions")))
    values["roles"] = {"pet": {"modality": "PT", "unit": "SUV", "required": False}}
    with pytest.raises(SettingsError, match="main"):
        config.parse(Protocol, values)


@pytest.mark.parametrize("content", ["[1, 2", "!!python/object/apply:os.system ['true']", "7"])
def test_what_is_not_settings_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "protocol.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError):
        config.load_protocol(str(path))


@pytest.mark.parametrize("name", ["no-such-protocol", "../training/pet-lesions", "missing.yaml"])
def test_a_name_that_is_not_embedded_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        config.load_protocol(name)


def test_settings_survive_a_yaml_file_of_the_users(tmp_path: Path) -> None:
    import yaml

    protocol = config.load_protocol("pet-lesions")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(dict(config.plain(protocol))))
    assert config.load_protocol(str(path)) == protocol
