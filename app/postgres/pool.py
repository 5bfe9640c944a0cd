"""The connection pool, and which of the driver's errors mean that Postgres is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from agents.errors import Outage, Unstorable

PART = "Postgres"

# Another try, later, may find the database well: classes 08, 53 and 57, and a primary that became a standby.
_AWAY: tuple[type[Exception], ...] = (
    OSError,  # also TimeoutError and ConnectionError
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,  # the pool or the connection is closing
    asyncpg.InternalClientError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the pipeline's: Outage, or Unstorable for a value it cannot keep."""
    try:
        yield
    except asyncpg.DataError as error:
        # Before InterfaceError: asyncpg's client-side DataError is both.
        raise Unstorable(f"The database cannot keep a value of the event: {error}") from error
    except asyncpg.exceptions.UntranslatableCharacterError as error:
        raise Unstorable(f"The database cannot keep a character of the event: {error}") from error
    except _AWAY as error:
        raise Outage(PART, _first_line(error)) from error
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise Outage(PART, _first_line(error)) from error


async def open_pool(dsn: str, *, size: int) -> asyncpg.Pool[asyncpg.Record]:
    """Connect. Raises what ``translated`` translates where Postgres is away."""
    pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=5.0,
        command_timeout=10.0,
        max_inactive_connection_lifetime=300.0,
        init=_prepare,
        server_settings={"application_name": "clearcall", "timezone": "UTC"},
    )
    return pool


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
