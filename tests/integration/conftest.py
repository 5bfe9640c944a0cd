"""A pool on a database at the newest migration, opened as a worker opens it and emptied before each test.

Copying a database takes a hundred times as long as emptying one: a test asks for ``database`` only where it changes
the schema.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from app.postgres.pool import open_pool

if TYPE_CHECKING:
    from tests.support.calls import Pool
    from tests.support.postgres import Postgres

_EMPTY = """
UPDATE rejected_events SET replayed_result_id = NULL;
DELETE FROM outbox; DELETE FROM renditions; DELETE FROM results; DELETE FROM recordings; DELETE FROM rejected_events"""


@pytest.fixture(scope="module")
def shared_database(postgres: Postgres, template_database: str) -> Iterator[str]:
    """The DSN of a database that the tests of one file share."""
    name = f"t{secrets.token_hex(6)}"
    yield postgres.create_database(name, template=template_database)
    postgres.drop_database(name)


@pytest.fixture
async def pool(shared_database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(shared_database, size=8)
    await pool.execute(_EMPTY)
    yield pool
    pool.terminate()
