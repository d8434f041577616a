"""The FHIR Bundle, as a library of FHIR's own resources reads it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle

from medseg import config
from medseg.errors import UnreadableFileError
from medseg.formats import fhir
from tests.unit.formats.test_tables import BARE, ROW

SUBJECT = fhir.Subject("1" * 64, "P-7", "cc26-peaks", "medseg 0.1")
IN_LEFT = replace(ROW, instance=2, tracking_uid="2.25.77", organ="parotid_left")
ORGAN = replace(ROW, kind="organ", structure="brain", tracking_uid="2.25.9")
ARBITRARY = replace(BARE, instance=3, organ=None, tracking_uid="2.25.5")


def written(path: Path, rows: list, subject: fhir.Subject = SUBJECT) -> Path:
    fhir.write_fhir(path, rows, subject, config.load_structures())
    return path


def test_the_bundle_is_fhir_r4_and_its_report_lists_every_lesion(tmp_path: Path) -> None:
    path = written(tmp_path / "f.json", [ROW, IN_LEFT, ARBITRARY, ORGAN])
    bundle = Bundle.model_validate_json(path.read_bytes())
    report, *observations = [entry.resource for entry in bundle.entry]
    assert report.get_resource_type() == "DiagnosticReport"
    assert [one.reference for one in report.result] == [e.fullUrl for e in bundle.entry[1:]]
    assert report.subject.identifier.value == "P-7"
    assert "3 lesions by the rule cc26-peaks" in report.conclusion
    assert report.conclusion.endswith("Not for diagnostic use.")
    volume = observations[0].component[0].valueQuantity
    assert (float(volume.value), volume.code) == (ROW.volume_mm3, "mm3")
    assert observations[0].identifier[0].value == "urn:oid:2.25.12345"
    assert [one.code for one in observations[1].bodySite.coding] == ["45289007", "7771000"]
    assert len(observations[0].component) == 5
    assert len(observations[2].component) == 3  # an arbitrary unit has no code


def test_no_lesions_make_a_report_that_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "f.json", [ORGAN], replace(SUBJECT, patient_key=None))
    (report,) = [one.resource for one in Bundle.model_validate_json(path.read_bytes()).entry]
    assert report.conclusion.startswith("0 lesions")
    assert "no proof that there is none" in report.conclusion
    assert report.subject is None
    assert fhir.read_fhir(path) == {}


def test_two_writes_are_equal_and_another_run_has_other_ids(tmp_path: Path) -> None:
    first = written(tmp_path / "a", [ROW]).read_bytes()
    assert written(tmp_path / "b", [ROW]).read_bytes() == first
    other = written(tmp_path / "c", [ROW], replace(SUBJECT, identity="2" * 64))
    ids = [entry["fullUrl"] for entry in json.loads(other.read_bytes())["entry"]]
    assert not any(one in first.decode() for one in ids)


def test_the_numbers_are_read_back_by_tracking_uid(tmp_path: Path) -> None:
    found = fhir.read_fhir(written(tmp_path / "f.json", [ROW]))
    assert found["2.25.12345"]["103340004"] == (11.25, "mm")
    assert found["2.25.12345"]["56851009"] == (11.75, "g/ml{SUVbw}")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    for text in ("", "[]", '{"entry": []}', '{"entry": [{"fullUrl": 1}]}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UnreadableFileError):
            fhir.read_fhir(path)
