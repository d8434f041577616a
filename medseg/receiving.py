"""Studies on their way in: a DICOM receiver that fills an inbox."""

import ipaddress
import logging
import signal
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from medseg.errors import ResourceError, SettingsError
from medseg.formats.dicom_receive import Listening, receiving
from medseg.inbox import Inbox
from medseg.sending import TITLE
from medseg.site_secret import load_site_secret

logger = logging.getLogger(__name__)


def receive(folder: Path, listening: Listening, ready: Callable[[int], None]) -> None:
    """Receive into an inbox until the process is asked to end; what came by then is whole.

    Args:
        folder: The inbox.
        listening: Where and to whom to listen.
        ready: Told the port as soon as senders are heard.

    Raises:
        SettingsError: A title is none, or the folder cannot be written.
        ResourceError: The address is taken, or not of this machine.
    """
    for title in (listening.title, *listening.calling):
        if not TITLE.fullmatch(title):
            raise SettingsError(
                "An AE title is none, so nothing is received.",
                "A title has 1 to 16 characters of ASCII.",
            )
    if not is_loopback(listening.host):
        logger.warning("the receiver listens beyond this machine: mind who can reach it")
    secret = load_site_secret()
    if secret is None:
        logger.warning("no site secret is set, so who knows a study's UID can find its folder")
    try:
        inbox = Inbox(folder, secret)
    except OSError:
        raise SettingsError(
            "The inbox cannot be made there, so nothing is received.",
            "Give a folder that you may write to.",
        ) from None
    inbox.clear_incoming()
    over = threading.Event()
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: over.set())
    try:
        with receiving(listening, inbox.keep, inbox.performed) as port:
            ready(port)
            over.wait()
    except OSError:
        raise ResourceError(
            "The address is taken or is not of this machine, so nothing is received.",
            "Give another --port or --host, or stop what listens there.",
        ) from None


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def certificates(
    certificate: Path | None, key: Path | None, ca: Path | None
) -> ssl.SSLContext | None:
    """Certificates for a receiver; None where none was given.

    Args:
        certificate: Its own.
        key: Its private key; None where it lies in the same file.
        ca: Who must have signed a sender's certificate; None asks senders for none.

    Raises:
        SettingsError: One of them cannot be read, or its own is missing.
    """
    if certificate is None:
        if key is not None or ca is not None:
            raise SettingsError(
                "TLS needs the receiver's own certificate, so nothing is received.",
                "Give --tls-certificate too.",
            )
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise SettingsError(
            "The certificates for TLS cannot be read, so nothing is received.",
            "Give --tls-certificate, --tls-key and --tls-ca as PEM files.",
        ) from None
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
