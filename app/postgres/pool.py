"""The connection pool, and which of the driver's errors mean that Postgres is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from agents.errors import Outage, Unstorable

PART = "Postgres"

_CONNECT_WITHIN_S = 5.0
_ANSWER_WITHIN_S = 10.0
_SERVER_SETTINGS = {
    "application_name": "clearcall",
    "timezone": "UTC",
    # A relay that was cut off holds the rows that it was sending: the server must notice, so that others send them.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

# Another try, later, may find the database well: it is away, full, being restored, or does not let us in just now.
# None of it is a call's fault.
_AWAY: tuple[type[Exception], ...] = (
    OSError,  # also TimeoutError and ConnectionError
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,  # the pool or the connection is closing
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InsufficientPrivilegeError,
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
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise Outage(PART, "the database is not at this build's schema: run `clearcall migrate`") from error
    except _AWAY as error:
        raise Outage(PART, _first_line(error)) from error
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise Outage(PART, _first_line(error)) from error


@asynccontextmanager
async def connected(
    pool: asyncpg.Pool[asyncpg.Record], *, within_s: float | None = _ANSWER_WITHIN_S
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
    """Lend a connection for work that must end ``within_s`` seconds; the driver's errors are translated.

    Work that is cancelled or takes too long ends at once and costs the connection: the driver would first ask the
    server to stop, and wait for its answers, and a network that swallows everything gives none.
    """
    with translated():
        async with asyncio.timeout(within_s), pool.acquire() as lent:
            try:
                yield lent
            except asyncio.CancelledError:
                lent.terminate()
                raise


@asynccontextmanager
async def transaction(
    pool: asyncpg.Pool[asyncpg.Record], *, within_s: float | None = _ANSWER_WITHIN_S
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
    """Lend a connection in a transaction, as ``connected`` does; committed at the end, undone by an error."""
    async with connected(pool, within_s=within_s) as lent:
        work = lent.transaction()
        await work.start()
        try:
            yield lent
        except Exception:
            if not lent.is_closed():
                await work.rollback()
            raise
        await work.commit()


async def open_pool(dsn: str, *, size: int) -> asyncpg.Pool[asyncpg.Record]:
    """Connect. Raises what ``translated`` translates where Postgres is away."""
    pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=_CONNECT_WITHIN_S,
        command_timeout=_ANSWER_WITHIN_S,
        max_inactive_connection_lifetime=300.0,
        init=_prepare,
        server_settings=_SERVER_SETTINGS,
    )
    return pool


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    nameless = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return text[0] if text else nameless
