"""The queue over a real Postgres: leases, the fence, what counts as an attempt, and ends that are whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from agents.errors import CallError, Outage
from agents.events import failed
from agents.ports import Claim
from app.postgres.claims import PostgresClaims
from app.postgres.inbox import PostgresInbox
from app.postgres.pool import open_pool
from tests.support.calls import NOON
from tests.support.postgres import Postgres
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until
from tests.support.work import SOURCE, TRACEPARENT, Finished, new_result, recorded

if TYPE_CHECKING:
    from tests.support.calls import Pool

LEASE_S = 8.0
TOO_LARGE = CallError("too_large", "The recording is too large.", retriable=False)
GONE = CallError("source_not_found", "The recording is not there.", retriable=True)


@pytest.fixture
def claims(pool: Pool) -> PostgresClaims:
    return PostgresClaims(pool)


async def queue(pool: Pool, *call_ids: str) -> None:
    inbox = PostgresInbox(pool)
    for call_id in call_ids:
        assert await inbox.accept(new_result(recorded(call_id)))


async def take(
    claims: PostgresClaims, *, limit: int = 1, worker: str = "w", lease_s: float = LEASE_S
) -> list[Claim]:
    return await claims.claim(worker=worker, limit=limit, lease_s=lease_s)


async def take_one(claims: PostgresClaims, *, worker: str = "w") -> Claim:
    (held,) = await take(claims, worker=worker)
    return held


async def row(pool: Pool, call_id: str = "c-1") -> asyncpg.Record:
    found = await pool.fetchrow("SELECT * FROM results WHERE call_id = $1", call_id)
    assert found is not None
    return found


async def expire(pool: Pool) -> None:
    await pool.execute(
        "UPDATE results SET lease_expires_at = now() - interval '1 ms' WHERE status = 'processing'"
    )


async def finish(claims: PostgresClaims, held: Claim) -> bool:
    end = Finished(held)
    return await claims.finish(held, end.report, end.renditions, end.event)


async def give_up(claims: PostgresClaims, held: Claim) -> bool:
    return await claims.fail(held, TOO_LARGE, failed(held, TOO_LARGE, source=SOURCE, failed_at=NOON))


ENDS: dict[str, Callable[[PostgresClaims, Claim], Any]] = {
    "finish": finish,
    "fail": give_up,
    "retry": lambda claims, held: claims.retry(held, GONE, delay_s=0),
    "release": lambda claims, held: claims.release(held, delay_s=0),
}
every_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())


async def test_a_claim_holds_what_was_queued(pool: Pool, claims: PostgresClaims) -> None:
    new = new_result(recorded("c-1", channels=[{"role": "agent", "name": "Kim"}], metadata={"campaign": "ü"}))
    await PostgresInbox(pool).accept(new)

    held = await take_one(claims, worker="w-7")

    assert (held.result_id, held.event, held.chain) == (new.result_id, new.event, new.chain)
    assert held.chain.digest == new.chain.digest
    assert (held.traceparent, held.attempts, held.attempt, held.retry_round) == (TRACEPARENT, 0, 1, 0)
    kept = await row(pool)
    assert (kept["status"], kept["worker"], kept["lease_token"]) == ("processing", "w-7", held.lease_token)
    assert await pool.fetchval("SELECT lease_expires_at - started_at = interval '8 s' FROM results")


async def test_two_claimers_never_get_the_same_call_and_none_is_left(
    pool: Pool, claims: PostgresClaims
) -> None:
    names = [f"c-{number}" for number in range(60)]
    await queue(pool, *names)

    async def greedy(worker: str) -> list[Claim]:
        taken: list[Claim] = []
        while some := await take(claims, worker=worker, limit=3):
            taken += some
        return taken

    of_each = await asyncio.gather(*(greedy(f"w-{number}") for number in range(6)))

    taken = [held for of_one in of_each for held in of_one]
    assert sorted(held.event.call_id for held in taken) == sorted(names)
    assert len({held.lease_token for held in taken}) == len(names)


async def test_what_waits_longest_is_claimed_first(pool: Pool, claims: PostgresClaims) -> None:
    await queue(pool, "c-1", "c-2", "c-3")
    await pool.execute(
        "UPDATE results SET next_attempt_at = next_attempt_at - interval '1 h' WHERE call_id = 'c-3'"
    )

    assert [(await take_one(claims)).event.call_id for _ in range(3)] == ["c-3", "c-1", "c-2"]
    assert await take(claims) == []


async def test_a_call_in_work_is_nobody_elses_until_its_lease_ends(
    pool: Pool, claims: PostgresClaims
) -> None:
    await queue(pool, "c-1")
    (first,) = await take(claims, lease_s=0.3, worker="w-1")
    assert await take(claims, worker="w-2") == []

    second: list[Claim] = []

    async def is_taken() -> bool:
        second.extend(await take(claims, worker="w-2"))
        return bool(second)

    await until(is_taken)
    assert second[0].result_id == first.result_id
    assert second[0].lease_token > first.lease_token
    assert (await row(pool))["worker"] == "w-2"


@every_end
async def test_who_has_lost_the_lease_ends_nothing(
    pool: Pool, claims: PostgresClaims, end: Callable[[PostgresClaims, Claim], Any]
) -> None:
    await queue(pool, "c-1")
    first = await take_one(claims, worker="w-1")
    await expire(pool)
    second = await take_one(claims, worker="w-2")
    before = dict(await row(pool))

    assert await end(claims, first) is False

    assert dict(await row(pool)) == before
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    assert await pool.fetchval("SELECT count(*) FROM renditions") == 0
    assert await finish(claims, second) is True


@every_end
async def test_the_loser_ends_nothing_after_the_winner_has_ended_either(
    pool: Pool, claims: PostgresClaims, end: Callable[[PostgresClaims, Claim], Any]
) -> None:
    await queue(pool, "c-1")
    first = await take_one(claims)
    await expire(pool)
    assert await finish(claims, await take_one(claims)) is True
    before = dict(await row(pool))

    assert await end(claims, first) is False

    assert dict(await row(pool)) == before
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 1


@every_end
async def test_an_expired_lease_that_nobody_took_is_still_good_for_an_end(
    pool: Pool, claims: PostgresClaims, end: Callable[[PostgresClaims, Claim], Any]
) -> None:
    """Two computed the same: taking the result that is there is better than computing a third time."""
    await queue(pool, "c-1")
    held = await take_one(claims)
    await expire(pool)

    assert await end(claims, held) is True


async def test_neither_a_release_nor_an_expired_lease_counts_as_an_attempt(
    pool: Pool, claims: PostgresClaims
) -> None:
    await queue(pool, "c-1")
    for _ in range(3):
        assert await claims.release(await take_one(claims), delay_s=0)
        await take_one(claims)
        await expire(pool)

    held = await take_one(claims)
    assert (held.attempts, held.attempt) == (0, 1)
    kept = await row(pool)
    assert (kept["error_code"], kept["error_message"], kept["error_retriable"]) == (None, None, None)


@pytest.mark.parametrize(
    "put_back",
    [
        pytest.param(lambda claims, held: claims.retry(held, GONE, delay_s=30.0), id="retry"),
        pytest.param(lambda claims, held: claims.release(held, delay_s=30.0), id="release"),
    ],
)
async def test_a_call_that_was_put_back_rests_as_long_as_was_said(
    pool: Pool, claims: PostgresClaims, put_back: Callable[[PostgresClaims, Claim], Any]
) -> None:
    await queue(pool, "c-1")
    assert await put_back(claims, await take_one(claims)) is True

    assert await take(claims) == []
    kept = await row(pool)
    assert (kept["status"], kept["lease_expires_at"], kept["worker"]) == ("queued", None, None)
    rest = await pool.fetchval("SELECT extract(epoch FROM next_attempt_at - now()) FROM results")
    assert 28.0 < rest <= 30.0
    await pool.execute("UPDATE results SET next_attempt_at = now()")
    assert await take_one(claims)


async def test_a_retry_counts_and_keeps_its_reason_until_the_call_is_cleaned(
    pool: Pool, claims: PostgresClaims
) -> None:
    await queue(pool, "c-1")
    assert await claims.retry(await take_one(claims), GONE, delay_s=0)
    kept = await row(pool)
    assert (kept["attempts"], kept["error_code"], kept["error_retriable"]) == (1, "source_not_found", True)
    assert kept["error_message"] == "The recording is not there."

    second = await take_one(claims)
    assert (second.attempts, second.attempt) == (1, 2)
    assert await finish(claims, second)

    kept = await row(pool)
    assert (kept["status"], kept["attempts"], kept["error_code"]) == ("cleaned", 2, None)


async def test_renewing_lengthens_what_is_held_and_tells_what_is_lost(
    pool: Pool, claims: PostgresClaims
) -> None:
    await queue(pool, *(f"c-{number}" for number in range(1, 7)))
    held = {held.event.call_id: held for held in await take(claims, limit=6)}
    await claims.retry(held["c-2"], GONE, delay_s=0)
    await finish(claims, held["c-3"])
    await pool.execute(
        "UPDATE results SET status = 'erased', finished_at = now(), lease_expires_at = NULL, "
        "worker = NULL WHERE call_id = 'c-4'"
    )
    await pool.execute(
        "UPDATE results SET lease_expires_at = now() - interval '1 s' WHERE call_id IN ('c-5', 'c-6')"
    )
    again = await take(
        claims, limit=2, worker="w-2"
    )  # c-2 rests for nobody, it is due before c-5 and c-6 expired
    taken = {claim.event.call_id for claim in again}

    lost = await claims.renew(list(held.values()), lease_s=60.0)

    assert lost == {held[call_id].lease_token for call_id in {"c-4"} | taken}
    assert await pool.fetchval(
        "SELECT lease_expires_at > now() + interval '50 s' FROM results WHERE call_id = 'c-1'"
    )
    for claim in again:
        kept = await row(pool, claim.event.call_id)
        assert kept["lease_token"] == claim.lease_token
        assert not await pool.fetchval(
            "SELECT lease_expires_at > now() + interval '50 s' FROM results WHERE result_id = $1",
            claim.result_id,
        )
    assert await claims.renew([], lease_s=LEASE_S) == set()


async def test_an_expired_lease_that_nobody_took_can_be_renewed(pool: Pool, claims: PostgresClaims) -> None:
    await queue(pool, "c-1")
    held = await take_one(claims)
    await expire(pool)

    assert await claims.renew([held], lease_s=LEASE_S) == set()
    assert await take(claims) == []


async def test_finish_writes_status_statistics_renditions_and_the_event(
    pool: Pool, claims: PostgresClaims
) -> None:
    await queue(pool, "c-1")
    held = await take_one(claims)
    end = Finished(held)

    assert await finish(claims, held) is True

    kept = await row(pool)
    assert (kept["status"], kept["attempts"], kept["worker"]) == ("cleaned", 1, None)
    assert (kept["duration_s"], kept["before_lufs"], kept["after_lufs"]) == (60.0, -31.2, -16.0)
    # Of the noisiest channel, before and in the first rendition.
    assert (kept["before_noise_floor_dbfs"], kept["after_noise_floor_dbfs"]) == (-48.4, -62.4)
    told = end.report.to_json()
    del told["renditions"]
    assert kept["report"] == told
    renditions = await pool.fetch("SELECT * FROM renditions ORDER BY position")
    assert [(r["name"], r["sha256"], r["bytes"], r["after"]) for r in renditions] == [
        (r.name, r.object.sha256, r.object.bytes, r.after) for r in end.renditions
    ]
    sent = await pool.fetchrow("SELECT * FROM outbox")
    assert sent is not None
    assert (sent["topic"], sent["event_id"], sent["key"], sent["value"], sent["sent_at"]) == (
        "call.cleaned",
        end.event.event_id,
        b"acme/c-1",
        end.event.value,
        None,
    )
    assert sent["result_id"] == held.result_id


async def test_fail_writes_the_reason_and_the_event(pool: Pool, claims: PostgresClaims) -> None:
    await queue(pool, "c-1")
    held = await take_one(claims)

    assert await give_up(claims, held) is True

    kept = await row(pool)
    assert (kept["status"], kept["attempts"], kept["error_code"]) == ("failed", 1, "too_large")
    assert (kept["error_message"], kept["error_retriable"]) == ("The recording is too large.", False)
    assert await pool.fetchval("SELECT topic FROM outbox") == "call.failed"
    assert await take(claims) == []


async def test_another_round_begins_anew_and_its_failure_is_another_event(
    pool: Pool, claims: PostgresClaims
) -> None:
    await queue(pool, "c-1", "c-2")
    for held in await take(claims, limit=2):
        await give_up(claims, held)

    assert await claims.another_round("c-1", tenant_id="other") == 0
    assert await claims.another_round("c-1", tenant_id=None) == 1
    assert await claims.another_round("c-1", tenant_id=None) == 0

    held = await take_one(claims)
    assert (held.event.call_id, held.attempts, held.retry_round) == ("c-1", 0, 1)
    assert await give_up(claims, held)
    assert (
        await pool.fetchval(
            "SELECT count(DISTINCT event_id) FROM outbox WHERE result_id = $1", held.result_id
        )
        == 2
    )


async def test_a_call_that_this_build_cannot_read_does_not_hold_up_the_others(
    pool: Pool, claims: PostgresClaims
) -> None:
    """While versions are changed, a queue may hold what only the other version understands."""
    await queue(pool, "c-1", "c-2", "c-3")
    await pool.execute(
        """UPDATE results SET chain = '{"name": "from another version"}' WHERE call_id = 'c-1'"""
    )
    await pool.execute("""UPDATE results SET event = event - 'recording' WHERE call_id = 'c-2'""")

    assert [held.event.call_id for held in await take(claims, limit=3)] == ["c-3"]

    await expire(pool)
    assert [held.event.call_id for held in await take(claims, limit=3)] == ["c-3"]


async def test_a_connection_that_dies_in_the_middle_of_an_end_leaves_nothing_half(
    pool: Pool, claims: PostgresClaims, shared_database: str
) -> None:
    await queue(pool, "c-1")
    held = await take_one(claims)
    async with _blocked(shared_database, "LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE") as other:
        ending = asyncio.create_task(finish(claims, held))
        await _wait_for(other, "relation")
        assert (
            await other.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            == 1
        )
        with pytest.raises(Outage, match="Postgres is away"):
            await ending

    kept = await row(pool)
    assert (kept["status"], kept["attempts"], kept["report"]) == ("processing", 0, None)
    assert (
        await pool.fetchval("SELECT (SELECT count(*) FROM renditions) + (SELECT count(*) FROM outbox)") == 0
    )
    assert await finish(claims, held) is True
    assert await pool.fetchval("SELECT count(*) FROM renditions") == 2


@pytest.mark.parametrize("end", [finish, give_up], ids=["finish", "fail"])
async def test_an_end_whose_answer_was_lost_is_known_to_be_ours(
    database: str, postgres: Postgres, end: Callable[[PostgresClaims, Claim], Any]
) -> None:
    """The COMMIT lands, the connection dies before the answer: trying again must say that it was us."""
    proxy = TcpProxy(postgres.port)
    proxy.start()
    through_proxy = await open_pool(database.replace(f":{postgres.port}/", f":{proxy.port}/"), size=2)
    direct = await open_pool(database, size=2)
    try:
        await queue(direct, "c-1")
        await direct.execute(_COMMIT_WAITS)
        held = await take_one(PostgresClaims(direct))
        async with _blocked(database, "SELECT pg_advisory_xact_lock(7)") as other:
            ending = asyncio.create_task(end(PostgresClaims(through_proxy), held))
            await _wait_for(other, "advisory")
            proxy.black_hole()
        await until(lambda: direct.fetchval("SELECT status <> 'processing' FROM results"))
        assert not ending.done()
        proxy.refuse()
        with pytest.raises(Outage):
            await ending
        proxy.forward()

        assert await end(PostgresClaims(through_proxy), held) is True

        assert (await row(direct))["attempts"] == 1
        assert await direct.fetchval("SELECT count(*) FROM outbox") == 1
    finally:
        through_proxy.terminate()
        direct.terminate()
        proxy.stop()


# A transaction that changes a result waits at its COMMIT for whoever holds the advisory lock.
_COMMIT_WAITS = """
CREATE FUNCTION commit_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IN ('cleaned', 'failed') THEN PERFORM pg_advisory_xact_lock(7); END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER commit_waits AFTER UPDATE ON results DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commit_waits()"""


@asynccontextmanager
async def _blocked(database: str, lock: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Hold a lock in a transaction of another connection."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute(lock)
            yield connection
    finally:
        await connection.close()


async def _wait_for(connection: asyncpg.Connection[asyncpg.Record], wait_event: str) -> None:
    """Wait until somebody in this database waits for such a lock."""
    await until(
        lambda: connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = $1 AND datname = current_database()",
            wait_event,
        )
    )
