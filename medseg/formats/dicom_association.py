"""The door to a DICOM application on the network: how it is greeted, how long, and in silence."""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

SUCCESS = 0x0000
"""Status of every service that did what it was asked for (PS3.7 annex C)."""

SILENT = {
    "LOG_HANDLER_LEVEL": "none",
    "LOG_REQUEST_IDENTIFIERS": False,
    "LOG_RESPONSE_IDENTIFIERS": False,
}
"""pynetdicom logs what it is sent and asked for, patients included, unless it is told not to."""


@dataclass(frozen=True)
class Node:
    """A DICOM application on the network: `AET@HOST:PORT`."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Caller:
    """Who calls, and how long it waits.

    Attributes:
        title: Our own application entity title.
        timeout_seconds: Longest wait for a connection or an answer.
        tls: Encrypts the connection where given.
    """

    title: str
    timeout_seconds: float
    tls: ssl.SSLContext | None = None


@contextmanager
def configured(**chosen: object) -> Iterator[None]:
    """Log nothing of what comes and goes, and whatever else is chosen, while the block lasts.

    pynetdicom has these settings for the whole process alone; they are set back.

    Args:
        chosen: Names of settings in `pynetdicom._config`, and their values.
    """
    wanted = {**SILENT, **chosen}
    before = {name: getattr(_config, name) for name in wanted}
    for name, value in wanted.items():
        setattr(_config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_config, name, value)


@contextmanager
def associated(
    node: Node,
    caller: Caller,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[evt.EventHandlerType] = (),
) -> Iterator[Association | None]:
    """Hold an association for as long as the block lasts.

    Args:
        node: That is called.
        caller: Who calls.
        contexts: What is asked for.
        roles: Those that are taken besides that of the user.
        handlers: What is done with what comes.

    Yields:
        None where there is none: the host is not known, does not answer, or refuses.
    """
    entity = AE(ae_title=caller.title)
    entity.acse_timeout = entity.dimse_timeout = caller.timeout_seconds
    entity.network_timeout = entity.connection_timeout = caller.timeout_seconds
    with configured():
        try:
            association = entity.associate(
                node.host,
                node.port,
                contexts=list(contexts),
                ae_title=node.title,
                ext_neg=list(roles),
                tls_args=None if caller.tls is None else (caller.tls, node.host),
                evt_handlers=list(handlers),
            )
        except OSError:  # nobody knows the host
            yield None
            return
        try:
            yield association if association.is_established else None
        finally:
            if association.is_established:
                association.release()
