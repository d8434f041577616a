"""How an exported network is refused, whatever runs it."""

from medseg.errors import ModelError


def refused(what: str, remedy: str) -> ModelError:
    """The error that says what is wrong with an exported network, after its name."""
    return ModelError(f"The exported network {what}, so nothing was predicted.", remedy)


def lacks(operators: str, runtime: str, other: str) -> ModelError:
    """The error for operators that what runs the network does not have; another may."""
    return refused(
        f"needs {operators}, which {runtime} does not have", f"Export it without it, or as {other}."
    )
