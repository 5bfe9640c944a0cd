"""The HTTP interface over a real Postgres: what programs and people get, and what they are told when it goes wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import faust
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from agents.errors import Outage
from app.calls import Calls
from app.postgres.pool import open_pool
from app.postgres.status import StatusReader
from app.web import add_routes
from app.web.openapi import openapi_document
from app.web.routes import ROUTES, SECURITY_HEADERS
from app.web.services import PartReport
from tests.support.calls import NOON, Row, add, reject
from tests.support.descriptions import validate_as

if TYPE_CHECKING:
    from tests.support.calls import Connection, Pool

    Client = TestClient[web.Request, web.Application]

DOCUMENT = openapi_document(ROUTES)
HOSTILE = "<script>alert(1)</script>"


@dataclass
class Part:
    """A part's state, as the worker tells it."""

    name: str = "Postgres"
    address: str = "127.0.0.1:5432"
    ok: bool = True
    detail: str = "answers"
    what_to_do: str = ""


@dataclass
class Worker:
    """The worker behind the pages, without its Kafka and S3."""

    status: Calls | None = None
    embedded: bool = False
    parts: list[Part] = field(default_factory=lambda: [Part(), Part(name="Kafka")])
    exposed: Callable[[], Awaitable[tuple[bytes, str]]] | None = None

    async def health(self) -> list[Part]:
        return self.parts

    async def ready(self) -> PartReport:
        return self.parts[0]

    async def exposition(self) -> tuple[bytes, str]:
        if self.exposed is not None:
            return await self.exposed()
        return b"clearcall_worker_active 0\n", "text/plain; version=0.0.4; charset=utf-8"


async def client_of(worker: Worker) -> Client:
    app = web.Application()
    add_routes(app, worker)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


@pytest.fixture
def worker() -> Worker:
    """A worker that has not seen Postgres yet."""
    return Worker()


@pytest.fixture
async def client(worker: Worker) -> AsyncIterator[Client]:
    client = await client_of(worker)
    yield client
    await client.close()


@pytest.fixture
async def pool(database: str, worker: Worker) -> AsyncIterator[Pool]:
    """Postgres, which the worker now has."""
    pool = await open_pool(database, size=4)
    worker.status = StatusReader(pool)
    yield pool
    await pool.close()


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


async def problem_of(answer: ClientResponse, status: int) -> dict[str, Any]:
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    problem: dict[str, Any] = validate_as(DOCUMENT, "Problem", await answer.read())
    assert problem["status"] == status
    return problem


async def test_status_of_a_cleaned_call(client: Client, connection: Connection) -> None:
    row = Row(
        call_id="c-42",
        tenant_id="acme",
        recording_id="r-1",
        source_url="https://u:p@files.test/a.wav?sig=canary",
    )
    await add(connection, row)

    answer = await client.get("/status/c-42")

    assert (answer.status, answer.content_type) == (200, "application/json")
    text = await answer.text()
    call = validate_as(DOCUMENT, "CallDetail", text)
    assert {
        "tenant_id",
        "call_id",
        "recording_id",
        "status",
        "attempts",
        "queued_at",
        "started_at",
        "finished_at",
        "error",
        "chain",
        "renditions",
        "statistics",
        "result_id",
    } <= set(call)
    assert (call["tenant_id"], call["recording_id"], call["status"]) == ("acme", "r-1", "cleaned")
    assert call["chain"] == {"name": "telephony", "digest": row.digest}
    assert call["queued_at"] == "2026-11-20T12:00:00Z"
    assert [rendition["name"] for rendition in call["renditions"]] == ["listen", "asr"]
    assert call["renditions"][0]["after"]["channels"][0]["denoise"]["method"] == "spectral_gate"
    assert call["statistics"]["before"]["channels"][1]["noise_floor_dbfs"] == pytest.approx(-52.4)
    assert call["original"]["url"] == "https://files.test/a.wav"
    assert "canary" not in text
    assert await (await client.get("/api/v1/calls/c-42")).json() == call


async def test_status_of_a_call_that_failed(client: Client, connection: Connection) -> None:
    fault = ("source_not_found", "Nothing lies there.", True)
    await add(connection, Row(call_id="c-1", status="failed", error=fault, attempts=5))

    call = await (await client.get("/status/c-1")).json()

    assert (call["status"], call["attempts"], call["renditions"], call["statistics"]) == (
        "failed",
        5,
        [],
        None,
    )
    assert call["error"] == {
        "code": "source_not_found",
        "message": "Nothing lies there.",
        "retriable": True,
        "field": None,
    }


async def test_status_of_a_call_whose_event_was_rejected(client: Client, connection: Connection) -> None:
    rejected_id = await reject(connection, call_id="c-1", offset=9)

    call = validate_as(DOCUMENT, "CallDetail", await (await client.get("/status/c-1")).read())

    assert (call["status"], call["result_id"], call["rejected_id"]) == ("rejected", None, str(rejected_id))
    assert call["error"]["code"] == "malformed_json"
    assert call["origin"] == {"topic": "call.recorded", "partition": 0, "offset": 9}


async def test_a_call_that_is_not_known(client: Client, pool: Pool) -> None:
    for path in ("nobody", "..%2F..%2Fetc", "a%00b", "%E2%80%AEabc", "x" * 500, "%ff"):
        for prefix in ("/status/", "/api/v1/calls/"):
            problem = await problem_of(await client.get(prefix + path), 404)
            assert problem["title"] == "No such call"
        page = await client.get("/calls/" + path)
        assert (page.status, page.content_type) == (404, "text/html")


async def test_an_id_that_two_tenants_have(client: Client, connection: Connection) -> None:
    await add(connection, Row(call_id="c-1", tenant_id="acme"), Row(call_id="c-1", tenant_id="zeta"))

    problem = await problem_of(await client.get("/status/c-1"), 409)
    assert problem["tenants"] == ["acme", "zeta"]
    assert (await (await client.get("/status/c-1?tenant=zeta")).json())["tenant_id"] == "zeta"

    page = await client.get("/calls/c-1")
    assert page.status == 409
    assert 'href="/calls/c-1?tenant=zeta"' in await page.text()
    assert (await client.get("/calls/c-1?tenant=zeta")).status == 200


async def test_list_in_pages(client: Client, connection: Connection) -> None:
    await add(connection, *(Row(call_id=f"c-{n}", queued_at=NOON + timedelta(seconds=n)) for n in range(5)))
    seen: list[str] = []
    query = {"limit": "2", "status": "cleaned", "q": "c-", "since": "2026-11-20T12:00:01Z"}

    for _ in range(3):
        answer = await client.get("/api/v1/calls", params=query)
        page = validate_as(DOCUMENT, "CallPage", await answer.read())
        seen += [call["call_id"] for call in page["calls"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert seen == ["c-4", "c-3", "c-2", "c-1"]


async def test_parameters_out_of_bounds(client: Client, pool: Pool) -> None:
    for query, parameter in (
        ("status=done", "status"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("cursor=nonsense", "cursor"),
        ("since=tomorrow", "since"),
        ("tenant=a/b", "tenant"),
        ("q=" + "x" * 200, "q"),
    ):
        problem = await problem_of(await client.get(f"/api/v1/calls?{query}"), 400)
        assert problem["parameter"] == parameter
        assert parameter in problem["detail"]
        page = await client.get(f"/?{query}")
        assert (page.status, page.content_type) == (400, "text/html")


async def test_a_search_for_what_no_id_looks_like_finds_nothing(
    client: Client, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1"))
    for q in ("\x00", "%", "' OR 1=1--", "\u202e", "_", "a b"):
        answer = await client.get("/api/v1/calls", params={"q": q})
        assert await answer.json() == {"calls": [], "next_cursor": None}


async def test_the_page_shows_and_filters(client: Client, connection: Connection) -> None:
    await add(
        connection,
        Row(call_id="c-ok"),
        Row(call_id="c-bad", status="failed", error=("not_audio", f"What is this: {HOSTILE}", False)),
        Row(call_id="c-new", status="queued"),
    )
    await reject(connection)

    page = await client.get("/")
    text = await page.text()
    assert (page.status, page.content_type, page.charset) == (200, "text/html", "utf-8")
    for expected in (
        "c-ok",
        "c-bad",
        "c-new",
        "no call id",
        "not_audio",
        "\u221231.2",
        "\u221216.0",
        "<b>4</b>",
    ):
        assert expected in text
    assert HOSTILE not in text

    filtered = await (await client.get("/?status=failed")).text()
    assert "c-bad" in filtered
    assert "c-ok" not in filtered


async def test_the_part_that_changes_is_sent_once_until_it_does(
    client: Client, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1", status="queued"))

    first = await client.get("/?fragment=1")
    assert first.status == 200
    assert "<html" not in await first.text()
    same = await client.get("/?fragment=1", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status, await same.read()) == (304, b"")

    await connection.execute("UPDATE results SET attempts = 1")
    changed = await client.get("/?fragment=1", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status == 200


async def test_the_page_of_a_call(client: Client, connection: Connection) -> None:
    old = Row(call_id="c-1", chain_name="asr-only", digest="beef")
    new = Row(
        call_id="c-1",
        recording_id="r-2",
        queued_at=NOON + timedelta(minutes=1),
        event={"metadata": {HOSTILE: HOSTILE}, "channels": [{"role": "agent", "name": HOSTILE}]},
        warnings=({"code": "truncated", "channel": None, "message": "The file ends early."},),
    )
    await add(connection, old, new)
    await reject(connection, call_id="c-1", error=("conflicting_duplicate", "Another source.", None))

    page = await client.get("/calls/c-1")
    text = await page.text()

    assert page.status == 200
    for expected in (
        "r-2",
        "telephony",
        "asr-only",
        "The file ends early.",
        "conflicting_duplicate",
        "listen.flac",
    ):
        assert expected in text
    assert HOSTILE not in text
    assert f"/calls/c-1?tenant=default&amp;result={old.result_id}" in text
    older = await (await client.get(f"/calls/c-1?tenant=default&result={old.result_id}")).text()
    assert "asr-only" in older


async def test_every_answer_is_closed_to_other_sites(client: Client, pool: Pool) -> None:
    paths = [route.path.replace("{call_id}", "nobody") for route in ROUTES]
    for path in [*paths, "/static/app.css", "/static/nothing", "/nothing", "/api/v1/nothing"]:
        answer = await client.get(path)
        assert answer.status < 500, path
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value, path
        expected = "no-cache" if path == "/static/app.css" else "no-store"
        assert answer.headers["Cache-Control"] == expected, path
    assert "unsafe" not in SECURITY_HEADERS["Content-Security-Policy"]


async def test_static_files_are_kept_by_browsers_while_they_are_the_same(client: Client, pool: Pool) -> None:
    page = await (await client.get("/")).text()
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]

    style = await client.get(address)

    assert (style.status, style.content_type) == (200, "text/css")
    assert "immutable" in style.headers["Cache-Control"]
    again = await client.get(address, headers={"If-None-Match": style.headers["ETag"]})
    assert again.status == 304
    for path in ("/static/..%2froutes.py", "/static/%2e%2e/routes.py", "/static/"):
        assert (await client.get(path)).status == 404


async def test_unknown_addresses_and_methods(client: Client, pool: Pool) -> None:
    await problem_of(await client.get("/nothing"), 404)
    await problem_of(await client.get("/api/v1/nothing", headers={"Accept": "text/html"}), 404)
    page = await client.get("/nothing", headers={"Accept": "text/html"})
    assert (page.status, page.content_type) == (404, "text/html")

    refused = await client.post("/status/c-1")
    await problem_of(refused, 405)
    assert refused.headers["Allow"] == "GET,HEAD"
    assert (await client.head("/")).status == 200


async def test_the_description_is_served_as_json_and_as_a_page(client: Client) -> None:
    described = await client.get("/openapi.json")
    assert await described.json() == json.loads(json.dumps(DOCUMENT))
    page = await (await client.get("/docs")).text()
    for route in ROUTES:
        assert route.path in page
    assert "`" not in page


async def test_before_postgres_is_there_everything_answers(client: Client, worker: Worker) -> None:
    worker.parts[0] = Part(ok=False, detail="does not answer", what_to_do="Start the database.")

    assert await (await client.get("/livez")).json() == {"status": "alive"}
    problem = await problem_of(await client.get("/readyz"), 503)
    assert (problem["part"]["name"], problem["part"]["what_to_do"]) == ("Postgres", "Start the database.")
    health = validate_as(DOCUMENT, "Health", await (await client.get("/health")).read())
    assert [(part["name"], part["ok"]) for part in health["parts"]] == [("Postgres", False), ("Kafka", True)]
    assert health["ok"] is False
    assert (await client.get("/metrics")).status == 200
    for path in ("/status/c-1", "/api/v1/calls"):
        answer = await client.get(path)
        await problem_of(answer, 503)
        assert answer.headers["Retry-After"] == "2"
    for path in ("/", "/calls/c-1"):
        page = await client.get(path)
        assert (page.status, page.content_type) == (503, "text/html")
        text = await page.text()
        assert "Start the database." in text
        assert '<noscript><meta http-equiv="refresh"' in text


async def test_ready_means_that_this_worker_has_postgres(client: Client, worker: Worker) -> None:
    await problem_of(await client.get("/readyz"), 503)  # Postgres is there, the worker has not got to it yet
    worker.status = StatusReader.__new__(StatusReader)
    ready = await client.get("/readyz")
    assert ready.status == 200
    assert validate_as(DOCUMENT, "Readiness", await ready.read())["ready"] is True


async def test_when_postgres_goes_away_it_is_said_and_nothing_fails(client: Client, pool: Pool) -> None:
    await pool.close()

    problem = await problem_of(await client.get("/status/c-1"), 503)
    assert "Postgres is away" in problem["detail"]
    for path in ("/", "/calls/c-1"):
        assert (await client.get(path)).status == 503


async def test_metrics_are_passed_on_as_they_are(client: Client) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert await answer.text() == "clearcall_worker_active 0\n"


async def test_a_fault_of_ours_is_told_without_its_details(client: Client, worker: Worker) -> None:
    async def fail() -> tuple[bytes, str]:
        raise RuntimeError("secret-canary")

    worker.exposed = fail
    problem = await problem_of(await client.get("/metrics"), 500)
    assert "canary" not in json.dumps(problem)

    async def away() -> tuple[bytes, str]:
        raise Outage("Postgres", "connection refused")

    worker.exposed = away
    await problem_of(await client.get("/metrics"), 503)


async def test_calls_of_now_are_told_as_people_speak(client: Client, connection: Connection) -> None:
    await add(
        connection, Row(call_id="c-1", status="queued", queued_at=datetime.now(UTC) - timedelta(minutes=5))
    )
    assert "5 min ago" in await (await client.get("/")).text()


async def test_on_fausts_own_web_server_our_pages_come_first(worker: Worker) -> None:
    app = faust.App("pages", broker="kafka://127.0.0.1:1", web_tables_enabled=False, web_router_enabled=False)
    web_app: web.Application = app.web.web_app  # type: ignore[attr-defined]  # the aiohttp driver's own
    add_routes(web_app, worker)
    app.web.init_server()  # Faust's own pages, as at the start of a worker
    client = TestClient(TestServer(web_app))
    await client.start_server()
    try:
        page = await client.get("/")
        assert (page.status, page.content_type) == (503, "text/html")
        assert (await client.get("/livez")).status == 200
        await problem_of(await client.get("/table/"), 404)
    finally:
        await client.close()
