"""A page that loads nothing, from a template and the files that stand inside it."""

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def filled(package: str, name: str, **values: object) -> str:
    """A template of a package with its values; every text is escaped unless it is markup."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)


def inline(package: str, *names: str) -> Markup:
    """Files of a package, one after the other."""
    folder = resources.files(package)
    return Markup("".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names))  # noqa: S704


def content_policy(style: str, script: str) -> str:
    """Content security policy: this style, this script, pictures in the page, and nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    """A text inside the page as a policy names it."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
