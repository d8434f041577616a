"""Prefect's database gives room back, whatever it is, and stays what it was."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from pipelines import vacuum as module
from pipelines.keep_house import keep_house
from pipelines.vacuum import Vacuumed, address_of_database, vacuum
from tests import postgres

ROOM = 2**21


def fill_and_empty(path: Path) -> None:
    """Leave room in a database that nothing is in, as deleted flow runs do."""
    with sqlite3.connect(path, timeout=30) as database:
        database.execute("CREATE TABLE medseg_test AS SELECT randomblob(?) AS x", (ROOM,))
        database.commit()
        database.execute("DROP TABLE medseg_test")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # into the file, where room stays
    database.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE kept AS SELECT 7 AS x")
    database.close()
    fill_and_empty(path)
    return path


def test_a_file_shrinks_and_keeps_what_is_in_it(file: Path) -> None:
    size = file.stat().st_size
    found = vacuum(f"sqlite+aiosqlite:///{file}")
    assert found.problem == ""
    assert found.database_bytes_before == size > ROOM
    assert found.database_bytes_after == file.stat().st_size < ROOM
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT x FROM kept").fetchall() == [(7,)]
    database.close()


def test_one_that_is_locked_is_left_as_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.1)
    before = file.read_bytes()
    with sqlite3.connect(file) as other:
        other.execute("BEGIN IMMEDIATE")
        assert vacuum(f"sqlite+aiosqlite:///{file}") == Vacuumed(None, None, "OperationalError")
    other.close()
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "address",
    [
        "",
        "sqlite+aiosqlite:///{}/none.db",
        "sqlite+aiosqlite://",
        "postgresql+asyncpg://x:CANARY@127.0.0.1:9/x",
    ],
)
def test_one_that_is_not_to_be_had_is_said_and_not_made(tmp_path: Path, address: str) -> None:
    found = vacuum(address.format(tmp_path))
    assert found.problem
    assert "CANARY" not in found.problem
    assert not list(tmp_path.iterdir())


def test_postgresql_is_vacuumed_and_analysed() -> None:
    async def asked(address: str, *statements: str) -> object:
        engine = create_async_engine(address, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for statement in statements:
                found = await connection.execute(text(statement))
            answer = found.scalar() if found.returns_rows else None
        await engine.dispose()
        return answer

    with postgres.running() as address:
        asyncio.run(
            asked(
                address,
                "CREATE TABLE t AS SELECT repeat(md5(n::text), 9) AS x"
                " FROM generate_series(1, 20000) n",
                "DELETE FROM t",
            )
        )
        found = vacuum(address)
        stamped = (
            "SELECT last_vacuum IS NOT NULL AND last_analyze IS NOT NULL"
            " FROM pg_stat_user_tables WHERE relname = 't'"
        )
        assert asyncio.run(asked(address, stamped)) is True
    assert found.problem == ""
    assert found.database_bytes_before is not None
    assert found.database_bytes_after is not None
    assert found.database_bytes_before - found.database_bytes_after > ROOM


def test_housekeeping_shrinks_the_database_of_the_server_that_it_runs_on(
    prefect_server: Path, tmp_path: Path
) -> None:
    fill_and_empty(Path(str(make_url(address_of_database()).database)))
    state = keep_house(tmp_path, return_state=True)
    assert state.is_completed()
    with get_client(sync_client=True) as client:  # whose artifacts come in no order of time
        (made,) = (
            one
            for one in client.read_artifacts()
            if one.flow_run_id == state.state_details.flow_run_id
        )
        assert client.read_flow_runs()
    (row,) = json.loads(str(made.data))
    assert row["problem"] == ""
    assert row["database_bytes_before"] - row["database_bytes_after"] >= ROOM
