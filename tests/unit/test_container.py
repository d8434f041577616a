"""The container file and the manifests, as far as they can be checked without an engine."""

import re
from pathlib import Path

import yaml

from medseg.worklist.outcome import EXIT_CODES

HERE = Path(__file__).parents[2]

CONTAINER = (HERE / "Containerfile").read_text()

MANIFESTS = sorted((HERE / "configs" / "kubernetes").glob("*.yaml"))

MADE = {"build/wheels"}
"""By the command at the top of the container file."""


def test_every_path_that_is_copied_exists() -> None:
    copied = [
        path
        for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINER, re.MULTILINE)
        for path in line.split()[:-1]
    ]
    assert copied
    assert [path for path in copied if path not in MADE and not (HERE / path).exists()] == []


def test_packages_come_from_the_folder_of_wheels_alone_and_nobody_is_root() -> None:
    installs = re.findall(r"pip install (.*)", CONTAINER)
    assert len(installs) == 2
    assert all("--no-index" in install and "--no-deps" in install for install in installs)
    assert not re.search(r"curl|wget|apt-get|https?:", CONTAINER)
    assert re.search(r"^USER 10001:10001$", CONTAINER, re.MULTILINE)


def test_the_job_is_not_root_reads_only_and_stops_at_what_no_try_mends() -> None:
    found = {one["kind"]: one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())}
    assert set(found) == {"Job", "NetworkPolicy"}
    job = found["Job"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert {one["name"] for one in container["volumeMounts"]} == {
        one["name"] for one in pod["volumes"]
    }
    (rule,) = job["podFailurePolicy"]["rules"]
    assert set(rule["onExitCodes"]["values"]) == set(EXIT_CODES.values()) - {75}
    policy = found["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"]["job-name"] == found["Job"]["metadata"]["name"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in policy
