"""The secret that a site keys its pseudonyms with; docs/decisions/0006-privacy.md."""

import os
from pathlib import Path

from medseg.errors import SettingsError

VARIABLE = "MEDSEG_SITE_SECRET_FILE"
LEAST_BYTES = 16


def load_site_secret() -> bytes | None:
    """The secret that a site keys its pseudonyms with: the content of MEDSEG_SITE_SECRET_FILE.

    Returns:
        None where the variable is not set.

    Raises:
        SettingsError: The file cannot be read, or holds too little to be a secret.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    try:
        secret = Path(path).read_bytes().strip()
    except OSError:
        secret = b""
    if len(secret) < LEAST_BYTES:
        raise SettingsError(
            f"The file that {VARIABLE} names cannot be read, or holds fewer than "
            f"{LEAST_BYTES} bytes, so no pseudonym can be made.",
            "Make one with `openssl rand -hex 32 > FILE`, readable by the service alone.",
        )
    return secret
