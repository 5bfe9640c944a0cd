"""The inbox over a real Postgres: every event ends as a row, once, whatever was in it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from agents import events
from agents.errors import ConflictingDuplicate, Outage, Unstorable
from agents.intake import Intake
from agents.ports import NewResult, RawEvent, Rejection
from app.metrics import Metrics
from app.postgres.inbox import PostgresInbox
from app.postgres.pool import open_pool, translated
from app.postgres.rejected import RejectedEvents
from dsp import UnknownChain
from schemas import SchemaError, result_id
from tests.support.calls import NOON
from tests.support.postgres import Postgres
from tests.support.work import CHAINS, SHA256, SOURCE, new_result, raw_event, recorded

if TYPE_CHECKING:
    from tests.support.calls import Pool


@pytest.fixture
def inbox(pool: Pool) -> PostgresInbox:
    return PostgresInbox(pool)


@pytest.fixture
def intake(inbox: PostgresInbox) -> Intake:
    return Intake(
        inbox=inbox,
        chains=CHAINS,
        observer=Metrics(),
        source=SOURCE,
        on_queued=lambda: None,
        on_rejected=lambda: None,
    )


async def recording(pool: Pool) -> asyncpg.Record:
    found = await pool.fetchrow("SELECT * FROM recordings")
    assert found is not None
    return found


async def count(pool: Pool, table: str) -> int:
    found: int = await pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a table's name
    return found


async def test_the_same_event_is_one_result_and_is_counted(pool: Pool, inbox: PostgresInbox) -> None:
    new = new_result()

    assert [await inbox.accept(new) for _ in range(3)] == [True, False, False]

    assert await count(pool, "results") == 1
    assert (await recording(pool))["event_count"] == 3


async def test_events_that_come_at_the_same_moment_are_one_result(pool: Pool, inbox: PostgresInbox) -> None:
    kept = await asyncio.gather(*(inbox.accept(new_result()) for _ in range(8)))

    assert sorted(kept) == [False] * 7 + [True]
    assert (await recording(pool))["event_count"] == 8


async def test_another_chain_is_another_result_of_the_same_recording(
    pool: Pool, inbox: PostgresInbox
) -> None:
    assert await inbox.accept(new_result())
    assert await inbox.accept(new_result(recorded(chain="loud")))

    assert await pool.fetchval("SELECT count(DISTINCT chain_digest) FROM results") == 2
    assert (await recording(pool))["event_count"] == 2


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"url": "s3://recordings/acme/other.wav"}, "names s3://recordings/acme/other.wav"),
        ({"sha256": "f" * 64}, "with another checksum"),
    ],
)
async def test_a_known_recording_with_another_source_is_refused_and_leaves_no_trace(
    pool: Pool, inbox: PostgresInbox, fields: dict[str, Any], told: str
) -> None:
    await inbox.accept(new_result(recorded(recording={"sha256": SHA256})))
    before = dict(await recording(pool))

    with pytest.raises(ConflictingDuplicate, match=told) as refused:
        await inbox.accept(new_result(recorded(chain="loud", recording={"sha256": SHA256, **fields})))

    assert "Recording 'c-1' of call 'c-1' is known" in refused.value.message
    assert dict(await recording(pool)) == before
    assert await count(pool, "results") == 1


async def test_a_signature_that_was_renewed_is_the_same_source_and_is_never_told(
    pool: Pool, inbox: PostgresInbox
) -> None:
    def signed(signature: str, key: str = "c-1") -> NewResult:
        url = f"https://files.example/{key}.wav?X-Amz-Signature={signature}&X-Amz-Date=20261120T100000Z"
        return new_result(recorded(recording={"url": url}))

    assert await inbox.accept(signed("aaa"))
    assert not await inbox.accept(signed("bbb"))
    with pytest.raises(ConflictingDuplicate) as refused:
        await inbox.accept(signed("ccc", key="other"))
    assert "X-Amz" not in refused.value.message


async def test_the_first_checksum_that_an_event_gives_holds(pool: Pool, inbox: PostgresInbox) -> None:
    await inbox.accept(new_result())
    await inbox.accept(new_result(recorded(recording={"sha256": SHA256})))
    await inbox.accept(new_result())

    assert (await recording(pool))["source_sha256"] == SHA256


def with_text(text: str) -> NewResult:
    """An event whose text slipped past the schema."""
    new = new_result()
    return replace(new, event=new.event.model_copy(update={"queue": text}))


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"], ids=["nul", "lone surrogate"])
async def test_what_the_database_cannot_keep_is_the_events_fault_and_leaves_no_trace(
    pool: Pool, inbox: PostgresInbox, text: str
) -> None:
    with pytest.raises(Unstorable, match="cannot keep"):
        await inbox.accept(with_text(text))

    assert await count(pool, "recordings") == 0


def rejection(raw: RawEvent, **fields: Any) -> Rejection:
    told: dict[str, Any] = {
        "rejected_id": uuid4(),
        "raw": raw,
        "sha256": sha256(raw.value or b"").hexdigest(),
        "error_code": "malformed_json",
        "error_message": "the event is no JSON",
        "error_field": None,
        "tenant_id": None,
        "call_id": None,
        "recording_id": None,
    }
    return Rejection(**{**told, **fields})


@pytest.mark.parametrize("value", [None, b"", b"{\x00\xff", b"x" * (2 * 1024 * 1024)])
async def test_rejected_bytes_can_be_read_back(pool: Pool, inbox: PostgresInbox, value: bytes | None) -> None:
    headers = (("plain", b"text"), ("n\x00l", b"\x00\xff"), ("half\ud800", b""), ("plain", b"again"))
    refused = rejection(raw_event(value, headers=headers, timestamp_ms=None))
    event = events.rejected(refused, source=SOURCE, rejected_at=NOON, traceparent=None)

    assert await inbox.reject(refused, event) is True
    assert await inbox.reject(refused, event) is False

    kept = await RejectedEvents(pool).get(refused.rejected_id)
    assert kept is not None
    assert (kept.raw, kept.sha256, kept.timestamp_ms) == (value, refused.sha256, None)
    assert (kept.topic, kept.partition, kept.offset) == ("call.recorded", 3, 1207)
    assert kept.headers == (
        ("plain", b"text"),
        ("n\\x00l", b"\x00\xff"),
        ("half\\ud800", b""),
        ("plain", b"again"),
    )
    assert await pool.fetchval("SELECT array_agg(event_id) FROM outbox") == [str(refused.rejected_id)]


HOSTILE: dict[str, tuple[bytes | None, str]] = {
    "no value": (None, "null_value"),
    "no JSON": (b"{", "malformed_json"),
    "no UTF-8": (b'{"call_id": "\xff\xfe"}', "not_utf8"),
    "deep": (b"[" * 100_000, "too_deep"),
    "large": (b'{"call_id": "c-1", "x": "' + b"x" * (2 * 1024 * 1024) + b'"}', "too_large"),
    "wrong type": (b'{"call_id": 7, "recording": {"url": "s3://recordings/x.wav"}}', "invalid_field"),
    "path in an id": (b'{"call_id": "../x", "recording": {"url": "s3://recordings/x.wav"}}', "invalid_field"),
    "nul in an id": (
        b'{"call_id": "a\\u0000", "recording": {"url": "s3://recordings/x.wav"}}',
        "nul_character",
    ),
    "lone surrogate": (
        b'{"call_id": "c-1", "queue": "\\ud800", "recording": {"url": "s3://recordings/x.wav"}}',
        "lone_surrogate",
    ),
    "unknown version": (
        b'{"schema_version": 99, "call_id": "c-1", "recording": {"url": "s3://recordings/x.wav"}}',
        "unknown_schema_version",
    ),
    "unknown chain": (
        b'{"call_id": "c-1", "chain": "nope", "recording": {"url": "s3://recordings/x.wav"}}',
        "unknown_chain",
    ),
}


@pytest.mark.parametrize(("value", "code"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_bytes_end_as_one_rejected_row_and_one_event(
    pool: Pool, intake: Intake, value: bytes | None, code: str
) -> None:
    for _ in range(2):
        answer = await intake.take(raw_event(value, headers=(("ce_\x00", b"\xff"),)))
        assert isinstance(answer, Rejection)
        assert answer.error_code == code

    (kept,) = await RejectedEvents(pool).newest(10)
    assert (kept.raw, kept.error_code) == (value, code)
    (sent,) = await pool.fetch("SELECT event_id, topic, key, value FROM outbox")
    assert (sent["event_id"], sent["topic"], sent["key"]) == (str(kept.rejected_id), "call.rejected", None)
    told = json.loads(sent["value"])
    assert told["error"]["code"] == code
    if value is not None and len(value) <= 512 * 1024:
        assert b64decode(told["raw"]) == value
    else:
        assert told["raw"] is None


async def test_bytes_that_are_understood_at_last_are_replayed_once(pool: Pool, intake: Intake) -> None:
    value = {"call_id": "c-9", "chain": "brand-new", "recording": {"url": "s3://recordings/c-9.wav"}}
    refused = await intake.take(raw_event(value))
    assert isinstance(refused, Rejection)
    rejected = RejectedEvents(pool)
    mended = CHAINS.model_copy(update={"chains": {**CHAINS.chains, "brand-new": CHAINS.chains["loud"]}})

    with pytest.raises(UnknownChain, match="brand-new"):
        await rejected.replay(refused.rejected_id, CHAINS)
    assert await rejected.replay(uuid4(), mended) is None
    first = await rejected.replay(refused.rejected_id, mended)
    again = await rejected.replay(refused.rejected_id, mended)

    assert first is not None
    assert "is queued" in first
    assert again is not None
    assert "known already" in again
    kept = await rejected.get(refused.rejected_id)
    assert kept is not None
    digest = mended.resolve(chain="brand-new").digest
    assert kept.replayed_result_id == result_id("default", "c-9", "c-9", digest)
    assert kept.replayed_at is not None
    assert json.loads(json.dumps(kept.to_json()))["replayed_result_id"] == str(kept.replayed_result_id)


async def test_bytes_that_are_still_not_understood_stay_rejected(pool: Pool, intake: Intake) -> None:
    refused = await intake.take(raw_event(b"{"))
    assert isinstance(refused, Rejection)

    with pytest.raises(SchemaError):
        await RejectedEvents(pool).replay(refused.rejected_id, CHAINS)

    kept = await RejectedEvents(pool).get(refused.rejected_id)
    assert kept is not None
    assert kept.replayed_at is None


async def test_a_database_that_is_away_is_an_outage_and_comes_back_in_the_same_pool(
    pool: Pool, postgres: Postgres, shared_database: str
) -> None:
    inbox = PostgresInbox(pool)
    assert await inbox.accept(new_result())
    postgres.stop()
    with pytest.raises(Outage, match="Postgres is away"):
        await inbox.accept(new_result())
    with pytest.raises(Outage, match="Postgres is away"), translated():
        await open_pool(shared_database, size=1)
    postgres.start()

    assert await inbox.accept(new_result()) is False
    assert (await recording(pool))["event_count"] == 2


async def test_a_database_of_another_version_is_an_outage_that_says_what_to_do(empty_database: str) -> None:
    pool = await open_pool(empty_database, size=1)

    with pytest.raises(Outage, match="clearcall migrate"):
        await PostgresInbox(pool).accept(new_result())
    pool.terminate()


async def test_a_user_without_the_rights_is_an_outage_and_no_events_fault(
    pool: Pool, shared_database: str, unique_name: str
) -> None:
    await pool.execute(f"CREATE ROLE {unique_name} LOGIN PASSWORD 'hush'")
    address = shared_database.partition("@")[2]
    stranger = await open_pool(f"postgresql://{unique_name}:hush@{address}", size=1)

    with pytest.raises(Outage, match="permission denied") as outage:
        await PostgresInbox(stranger).accept(new_result())
    assert "hush" not in str(outage.value)
    stranger.terminate()
    await pool.execute(f"DROP ROLE {unique_name}")


async def test_the_server_lets_go_of_a_worker_that_vanished(pool: Pool) -> None:
    """A relay that is cut off holds rows in a transaction; nobody else could send them."""
    assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") == "1min"
    assert await pool.fetchval("SELECT current_setting('tcp_keepalives_idle')::int BETWEEN 1 AND 30")
    assert await pool.fetchval("SHOW application_name") == "clearcall"
