"""The status page in a real browser (Chromium), over a real Postgres."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from app.calls import Calls
from app.postgres.pool import open_pool
from app.postgres.status import StatusReader
from app.web import add_routes
from tests.support.calls import Row, add, reject
from tests.support.parts import real_parts_required

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.calls import Connection, Pool

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Two refreshes, on a machine that has other things to do.
_REFRESHED_MS = 10_000
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>"
NARROW = ViewportSize(width=390, height=844)

pytestmark = pytest.mark.acceptance


@dataclass
class Part:
    name: str = "Postgres"
    address: str = "127.0.0.1:5432"
    ok: bool = True
    detail: str = "answers"
    what_to_do: str = ""


@dataclass
class Worker:
    """The worker behind the pages, without its Kafka and S3."""

    status: Calls | None = None
    embedded: bool = True
    part: Part = field(default_factory=Part)

    async def health(self) -> list[Part]:
        return [self.part]

    async def ready(self) -> Part:
        return self.part

    async def exposition(self) -> tuple[bytes, str]:
        return b"", "text/plain"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's executable; skipped with what is missing, and failed where real parts are required."""
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        missing = "The browser test needs Chromium: install the package chromium"
        if real_parts_required():
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
async def server(worker: Worker) -> AsyncIterator[TestServer]:
    app = web.Application()
    add_routes(app, worker)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def pool(database: str, worker: Worker) -> AsyncIterator[Pool]:
    pool = await open_pool(database, size=4)
    worker.status = StatusReader(pool)
    yield pool
    await pool.close()


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained of: errors of scripts, and what the Content-Security-Policy kept out."""
    return []


@pytest.fixture
async def page(browser: Browser, server: TestServer, complaints: list[str]) -> Page:
    page = await browser.new_page(viewport={"width": 1280, "height": 900}, base_url=str(server.make_url("/")))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    return page


def received(seconds_ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds_ago)


async def test_the_table_keeps_itself_as_it_is_now(
    page: Page, connection: Connection, complaints: list[str]
) -> None:
    """New and changed calls appear by themselves; a row that did not change keeps what is selected in it."""
    await add(
        connection,
        Row(call_id="c-still", queued_at=received(600)),
        Row(call_id="c-going", status="queued", queued_at=received(60)),
    )
    await page.goto("/")
    await expect(page.get_by_role("row").filter(has_text="c-going")).to_contain_text("queued")
    await page.get_by_role("link", name="c-still").evaluate("link => getSelection().selectAllChildren(link)")

    await add(connection, Row(call_id="c-new", queued_at=received(1)))
    await connection.execute(
        "UPDATE results SET status = 'processing', lease_token = 1, lease_expires_at = now(), worker = 'w', "
        "started_at = now() WHERE call_id = 'c-going'"
    )

    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(3, timeout=_REFRESHED_MS)
    await expect(rows.nth(0)).to_contain_text("c-new")
    await expect(rows.nth(1)).to_contain_text("processing")
    await expect(rows.nth(2)).to_contain_text("10 min ago")
    assert await page.evaluate("getSelection().toString()") == "c-still"
    await expect(page.get_by_role("navigation", name="Calls by status")).to_contain_text("All 3")
    await expect(page.get_by_role("status")).to_have_text("2 calls changed.")

    await connection.execute("DELETE FROM renditions")
    await connection.execute("DELETE FROM results WHERE call_id = 'c-new'")
    await expect(rows).to_have_count(2, timeout=_REFRESHED_MS)
    assert complaints == []


async def test_the_first_call_takes_the_place_of_the_empty_table(page: Page, connection: Connection) -> None:
    await page.goto("/")
    await expect(page.get_by_text("clearcall submit")).to_be_visible()

    await add(connection, Row(call_id="c-1", queued_at=received(0)))

    await expect(page.get_by_role("link", name="c-1")).to_be_visible(timeout=_REFRESHED_MS)
    await expect(page.get_by_text("clearcall submit")).to_have_count(0)


async def test_refreshing_can_be_paused_and_a_service_that_is_gone_is_told(
    page: Page, server: TestServer, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1", queued_at=received(0)))
    await page.goto("/")
    await page.get_by_role("button", name="Pause").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    await page.wait_for_timeout(3000)
    assert asked == []
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("#live")).to_contain_text("Live")
    assert asked

    await server.close()
    await expect(page.locator("#live")).to_contain_text("does not answer", timeout=_REFRESHED_MS)
    await expect(page.get_by_role("link", name="c-1")).to_be_visible()


async def test_a_page_that_waits_for_postgres_becomes_the_table(
    page: Page, worker: Worker, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1", queued_at=received(0)))
    reader, worker.status = worker.status, None
    worker.part = Part(ok=False, detail="does not answer", what_to_do="Start the database.")
    await page.goto("/")
    await expect(page.get_by_text("Start the database.")).to_be_visible()

    worker.status, worker.part = reader, Part()

    await expect(page.get_by_role("link", name="c-1")).to_be_visible(timeout=_REFRESHED_MS)


async def test_strangers_text_does_nothing(page: Page, connection: Connection, complaints: list[str]) -> None:
    await add(
        connection,
        Row(
            call_id="c-1",
            queued_at=received(0),
            event={
                "metadata": {HOSTILE: HOSTILE},
                "channels": [{"role": "agent", "name": HOSTILE}],
                "queue": HOSTILE,
            },
            warnings=({"code": "odd", "channel": 0, "message": HOSTILE},),
        ),
    )
    await reject(
        connection, call_id="c-1", error=("malformed_json", HOSTILE, HOSTILE), rejected_at=received(0)
    )

    await page.goto("/")
    await expect(page.get_by_text(HOSTILE)).to_be_visible()
    await page.get_by_role("link", name="c-1").first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("c-1")
    await expect(page.get_by_text(HOSTILE).first).to_be_visible()

    assert await page.locator("img").count() == 0
    assert complaints == []


async def test_a_call_in_work_shows_its_end_without_a_reload(page: Page, connection: Connection) -> None:
    await add(connection, Row(call_id="c-1", status="processing", queued_at=received(5)))
    await page.goto("/calls/c-1")
    await expect(page.get_by_role("article")).to_contain_text("not yet")

    await connection.execute(
        "UPDATE results SET status = 'failed', lease_expires_at = NULL, worker = NULL, finished_at = now(), "
        "attempts = 1, error_code = 'not_audio', error_message = 'No audio in it.', error_retriable = false"
    )

    await expect(page.get_by_text("No audio in it.")).to_be_visible(timeout=_REFRESHED_MS)


async def test_without_a_script_it_lists_filters_and_pages(
    browser: Browser, server: TestServer, connection: Connection
) -> None:
    await add(connection, *(Row(call_id=f"c-{n:03}", queued_at=received(300 - n)) for n in range(102)))
    await add(
        connection,
        Row(call_id="d-1", status="failed", error=("not_audio", "What?", False), queued_at=received(1)),
    )
    page = await browser.new_page(java_script_enabled=False, base_url=str(server.make_url("/")))

    await page.goto("/")
    assert await page.get_by_role("row").count() == 101  # one is the header
    await page.get_by_role("link", name="Older").click()
    assert await page.get_by_role("row").count() == 4
    await page.get_by_role("link", name="Newest").click()
    await page.get_by_role("navigation", name="Calls by status").get_by_role("link", name="Failed").click()
    assert await page.get_by_role("row").count() == 2
    await page.get_by_role("link", name="All 103").click()
    await page.get_by_label("Call id begins with").fill("c-01")
    await page.get_by_role("button", name="Find").first.click()
    assert await page.get_by_role("row").count() == 11
    await page.get_by_role("link", name="c-019").click()
    assert await page.get_by_role("heading", level=1).text_content() == "c-019"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_telephone_shows_all_of_it(
    browser: Browser, server: TestServer, connection: Connection, scheme: str, tmp_path: Path
) -> None:
    """Nothing sticks out at 390 px, whatever the ids are; and a row laid out as a card is still a row."""
    await add(
        connection,
        Row(call_id="c" * 128, tenant_id="t" * 128, recording_id="r" * 128, queued_at=received(0)),
        Row(call_id="c-2", status="failed", error=("e" * 60, "x" * 900, False), queued_at=received(1)),
    )
    await reject(
        connection, call_id="c-2", error=("malformed_json", "y" * 900, None), rejected_at=received(2)
    )
    page = await browser.new_page(
        viewport=NARROW,
        color_scheme="dark" if scheme == "dark" else "light",
        base_url=str(server.make_url("/")),
    )

    for path in ("/", f"/calls/{'c' * 128}", "/calls/c-2", "/calls/nobody", "/docs"):
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
    await page.goto("/")
    for width in (600, 800, 970, 1024, 1280, 1920):
        await page.set_viewport_size(ViewportSize(width=width, height=800))
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, width
    await page.set_viewport_size(NARROW)
    row = page.get_by_role("row").filter(has_text="c-2").first
    await expect(row.get_by_role("cell").first).to_contain_text("failed")
    paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(19, 20, 18)" if scheme == "dark" else "rgb(251, 250, 247)")
    await page.screenshot(path=tmp_path / f"narrow-{scheme}.png")


async def test_the_script_speaks_of_times_as_the_server_does(page: Page, connection: Connection) -> None:
    for seconds in (0.2, 30, 90, 3 * 3600 + 60, 3 * 86_400):
        await add(connection, Row(call_id=f"c-{seconds}", queued_at=received(seconds)))
    response = await page.goto("/")
    assert response is not None
    written = await response.text()
    told = await page.locator("time[data-ago]").all_text_contents()
    assert len(told) == 5
    for text in told[2:]:  # the first two may have grown older meanwhile
        assert f">{text}</time>" in written
    assert told[1].endswith(" s ago")


async def test_everything_can_be_reached_and_seen_by_keyboard(page: Page, connection: Connection) -> None:
    await add(connection, Row(call_id="c-1", queued_at=received(0)))
    await page.goto("/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="To the content")).to_be_focused()
    await expect(page.get_by_role("link", name="To the content")).to_be_in_viewport()

    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.get_by_role("link", name="c-1").evaluate("link => link === document.activeElement"):
            break
    await expect(page.get_by_role("link", name="c-1")).to_be_focused()
    outline = await page.get_by_role("link", name="c-1").evaluate(
        "link => getComputedStyle(link).outlineStyle"
    )
    assert outline == "solid"
