"""Programs of the machine that some tests need: Debian packages, installed by `.ci/run`."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of a program; skips the test with a reason where it is absent, never in CI."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} of the Debian package {package} is not installed"
        if os.environ.get("MEDSEG_REQUIRE_REALDATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
