"""Prefect's database gives back what deleted runs took.

SQLite gives it to the disk, PostgreSQL mostly to later runs.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from asyncpg import InterfaceError, PostgresError
from prefect.settings import get_current_settings
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

FAULTS = (SQLAlchemyError, OSError, PostgresError, InterfaceError)
"""What a database says that is away, locked or not for us; asyncpg's own where it connects."""

SQLITE = "sqlite"

BUSY_SECONDS = 60.0
"""That a vacuum of SQLite waits for others to end what they write."""


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum gave back.

    Attributes:
        database_bytes_before: Size of the database on the disk; None where it is not known.
        database_bytes_after: The same after it.
        problem: Why there was none, or "".
    """

    database_bytes_before: int | None
    database_bytes_after: int | None
    problem: str = ""


def address_of_database() -> str:
    """Of Prefect's server, as this process was told: by `medseg operate`, or Prefect's default."""
    address = get_current_settings().server.database.connection_url
    return "" if address is None else address.get_secret_value()


def vacuum(address: str) -> Vacuumed:
    """Vacuum a database; one that is locked or not to be had from here is left as it is.

    Args:
        address: As SQLAlchemy takes it, with an asynchronous driver.
    """
    try:
        url = make_url(address)
        if url.get_backend_name() == SQLITE and not Path(url.database or "").is_file():
            return Vacuumed(None, None, "its file is not on this machine")
        return asyncio.run(_vacuum(address))
    except FAULTS as error:  # whose text may hold a password
        return Vacuumed(None, None, type(error).__name__)


async def _vacuum(address: str) -> Vacuumed:
    engine = create_async_engine(address, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            before = await _size(connection)
            if engine.dialect.name == SQLITE:
                await connection.execute(text(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}"))
                await connection.execute(text("VACUUM"))
                # What the log holds is no part of the file until then.
                await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            else:
                await connection.execute(text("VACUUM (ANALYZE)"))
            return Vacuumed(before, await _size(connection))
    finally:
        await engine.dispose()


async def _size(connection: AsyncConnection) -> int:
    """Bytes on the disk, of SQLite with the log beside it."""
    if connection.dialect.name == SQLITE:
        path = Path(connection.engine.url.database or "")
        return sum(
            one.stat().st_size for one in (path, path.with_name(f"{path.name}-wal")) if one.exists()
        )
    found = await connection.scalar(text("SELECT pg_database_size(current_database())"))
    return int(found or 0)
