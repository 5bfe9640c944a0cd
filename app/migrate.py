"""Brings the database's schema to the newest version, and tells which it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import migrations

T = TypeVar("T")

_FOLDER = Path(migrations.__file__).parent
# Any fixed number: whoever migrates the same database at the same moment waits.
_MIGRATION_LOCK = 0x636C_6561_7263_616C


def head() -> str:
    """The version that this build of Clearcall needs."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise RuntimeError(f"No migrations were found in {_FOLDER}: the installation is not whole.")
    return newest


async def current(dsn: str) -> str | None:
    """The version of the database; None where it has never been migrated."""
    return await _on_connection(
        dsn, lambda connection: MigrationContext.configure(connection).get_current_revision()
    )


async def upgrade(dsn: str, revision: str = "head") -> None:
    """Migrate up. Raises what the driver raises where the database cannot be reached."""
    await _on_connection(dsn, lambda connection: _locked(connection, command.upgrade, revision))


async def downgrade(dsn: str, revision: str) -> None:
    """Migrate down: what the newer tables held is lost."""
    await _on_connection(dsn, lambda connection: _locked(connection, command.downgrade, revision))


def _locked(connection: Connection, work: Callable[[Config, str], None], revision: str) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
    work(_config(connection), revision)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # Not an interpolated value: a '%' in the path must stay one.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def _on_connection(dsn: str, work: Callable[[Connection], T]) -> T:
    url = make_url(dsn).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()
