"""Where the real data lies, and how hypothesis runs here."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("medseg", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("medseg")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real images; skipped with a reason where absent, never in CI."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("MEDSEG_REQUIRE_REALDATA") == "1":
            pytest.fail("MEDSEG_REQUIRE_REALDATA=1 and ../shared/data is absent")
        pytest.skip("../shared/data is absent")
    return folder
