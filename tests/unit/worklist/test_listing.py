"""What an operator points at becomes studies, in an order that stays."""

from pathlib import Path

import pytest

from medseg.errors import SettingsError, SourceNotFoundError
from medseg.worklist.listing import studies


def test_a_folder_holds_a_study_in_each_folder_and_image(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.nii.gz").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "z").symlink_to("/etc")
    listed = studies(tmp_path)
    assert [(one.number, one.source.name) for one in listed] == [
        (1, "a"),
        (2, "b"),
        (3, "c.nii.gz"),
    ]
    assert all(one.protocol is None for one in listed)


def test_a_list_names_a_study_a_line_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# tonight\na\n\n/abs/b\n")
    assert [one.source for one in studies(tmp_path / "list.txt")] == [
        tmp_path / "a",
        Path("/abs/b"),
    ]


def test_a_table_may_name_a_protocol_for_a_study(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("study,protocol\na,head-neck-organs\nb,\n")
    first, second = studies(tmp_path / "list.csv", "pet-lesions")
    assert first.protocol is not None
    assert second.protocol is not None
    assert (first.protocol.name, second.protocol.name) == ("head-neck-organs", "pet-lesions")


@pytest.mark.parametrize(
    ("name", "text"),
    [("l.csv", "path\na\n"), ("l.csv", "study,series\na,b\n"), ("l.csv", "study\n\n,\n")],
)
def test_a_table_of_other_columns_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises((SettingsError, SourceNotFoundError)):
        studies(tmp_path / name)


def test_an_unknown_protocol_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(SettingsError):
        studies(tmp_path, "no-such-protocol")


def test_nothing_there_and_nothing_in_it_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", tmp_path / "list.txt"):
        with pytest.raises(SourceNotFoundError):
            studies(path)
