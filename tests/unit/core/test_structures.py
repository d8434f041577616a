import pytest
from pydicom.sr._concepts_dict import concepts

from medseg.config import Structures, load_structures, parse
from medseg.core.structures import mirrored
from medseg.errors import SettingsError


def test_every_structure_has_a_code_that_dicom_knows_by_that_meaning():
    meanings = {
        (value, meaning)
        for codes in concepts["SCT"].values()
        for value, (meaning, _) in codes.items()
    }
    for name, structure in load_structures().items():
        assert structure.code.scheme == "SCT", name
        assert (structure.code.value, structure.code.meaning) in meanings, name


def test_a_structure_of_one_side_has_its_pair_on_the_other_and_the_rest_are_their_own():
    structures = load_structures()
    for name, structure in structures.items():
        other = structures[mirrored(name, structures)]
        assert mirrored(mirrored(name, structures), structures) == name
        assert {"left": "right", "right": "left", "none": "none"}[
            structure.laterality
        ] == other.laterality
        assert other.code == structure.code
        assert (structure.laterality in name) == (structure.laterality != "none")


def test_a_structure_without_a_code_is_refused():
    with pytest.raises(SettingsError, match="code"):
        parse(Structures, {"structures": {"tongue": {"title": "Tongue", "kind": "organ"}}})
