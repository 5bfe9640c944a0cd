"""Fetching over HTTP and from disk: hostile servers and hostile folders cost a call its recording, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from aiohttp import web

from agents.errors import CallError, Outage
from agents.ports import Fetched
from app.fetch import RecordingFetcher
from app.parts import http_client
from app.s3 import S3Client, S3Config
from app.sources import SourcePolicy
from tests.support.ports import LOOPBACK, free_port

MAX_BYTES = 300_000
SECRET = "X-Amz-Signature=hush"

Fetch: TypeAlias = Callable[..., Awaitable[Fetched]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
def fetcher(http: httpx.AsyncClient, tmp_path: Path) -> Callable[..., RecordingFetcher]:
    nowhere = S3Config(
        part="S3 (recordings)",
        endpoint=f"http://{LOOPBACK}:{free_port()}",
        region="us-east-1",
        access_key="k",
        secret_key="s",
    )

    def make(*rules: str, deadline_s: float = 10.0) -> RecordingFetcher:
        return RecordingFetcher(
            policy=SourcePolicy({"acme": rules}, output_bucket="clearcall"),
            s3=S3Client(nowhere, http),
            http=http,
            max_bytes=MAX_BYTES,
            deadline_s=deadline_s,
        )

    return make


class Site:
    """A web server whose pages a test writes; it remembers what it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.asked: list[web.BaseRequest] = []
        self.pages: dict[str, Handler] = {}

    def page(self, path: str, handler: Handler) -> str:
        self.pages[path] = handler
        return f"{self.url}{path}"

    def answers(self, path: str, **response: Any) -> str:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(**response)

        return self.page(path, answer)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        assert isinstance(request, web.Request) or request.path in self.pages
        return await self.pages[request.path](request)  # type: ignore[arg-type]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    runner = web.ServerRunner(web.Server(site.serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, site.port).start()
    yield site
    await runner.cleanup()


@pytest.fixture
def fetch(fetcher: Callable[..., RecordingFetcher], site: Site, tmp_path: Path) -> Fetch:
    async def fetch(url: str, *, rule: str = "/", deadline_s: float = 10.0) -> Fetched:
        ours = fetcher(f"{site.url}{rule}", deadline_s=deadline_s)
        return await ours.fetch(tenant_id="acme", url=url, to=tmp_path / "source")

    return fetch


async def refusal(fetching: Awaitable[Fetched]) -> tuple[str, bool]:
    """The error's code and whether another attempt may help; no message may tell a signature."""
    with pytest.raises(CallError) as refused:
        await fetching
    assert SECRET not in refused.value.message
    assert refused.value.__cause__ is None or SECRET not in str(refused.value.__cause__)
    return refused.value.code, refused.value.retriable


def is_copy(fetched: Fetched, content: bytes) -> bool:
    assert (fetched.bytes, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return fetched.path.read_bytes() == content


@pytest.mark.parametrize("size_bytes", [0, 1, MAX_BYTES])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_recording_arrives_whole_and_hashed(
    site: Site, fetch: Fetch, size_bytes: int, *, chunked: bool
) -> None:
    content = secrets.token_bytes(size_bytes)

    async def answer(request: web.Request) -> web.StreamResponse:
        if not chunked:
            return web.Response(body=content)
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, size_bytes, 70_000):
            await response.write(content[start : start + 70_000])
        return response

    fetched = await fetch(f"{site.page('/c-1.wav', answer)}?{SECRET}")

    assert is_copy(fetched, content)
    (asked,) = site.asked
    assert asked.query_string == SECRET
    assert asked.headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & {name.lower() for name in asked.headers}


@pytest.mark.parametrize(
    ("status", "code", "retriable"),
    [
        (404, "source_not_found", True),  # it may be on its way
        (410, "source_not_found", False),
        (400, "source_refused", False),
        (401, "source_refused", False),
        (403, "source_refused", False),
        (408, "source_refused", True),
        (425, "source_refused", True),
        (429, "source_refused", True),
        (500, "source_refused", True),
        (503, "source_refused", True),
        (204, "source_refused", False),
        (206, "source_refused", False),
    ],
)
async def test_an_answer_that_is_no_recording_says_so(
    site: Site, fetch: Fetch, status: int, code: str, *, retriable: bool
) -> None:
    url = site.answers("/c-1.wav", status=status)

    assert await refusal(fetch(f"{url}?{SECRET}")) == (code, retriable)
    with pytest.raises(CallError, match=f"c-1.wav cannot be read: the server answered {status} "):
        await fetch(f"{url}?{SECRET}")


async def test_what_the_tenant_may_not_name_is_not_even_asked_for(site: Site, fetch: Fetch) -> None:
    url = site.answers("/other/c-1.wav", body=b"secret")

    assert await refusal(fetch(f"{url}?{SECRET}", rule="/acme/")) == ("source_not_allowed", False)
    assert site.asked == []


async def test_a_cookie_is_kept_for_nobody(site: Site, fetch: Fetch) -> None:
    url = site.answers("/c-1.wav", body=b"x", headers={"set-cookie": "session=of-one-tenant; Path=/"})

    for _ in range(2):
        await fetch(url)

    assert ["cookie" in asked.headers for asked in site.asked] == [False, False]


class TestRedirects:
    async def test_are_followed_where_the_tenant_may_name_the_target(self, site: Site, fetch: Fetch) -> None:
        site.answers("/acme/there.wav", body=b"a recording")
        site.answers(
            "/acme/stop.wav", status=307, headers={"location": f"{site.url}/acme/there.wav?{SECRET}"}
        )
        url = site.answers("/acme/c-1.wav", status=302, headers={"location": "stop.wav"})

        assert is_copy(await fetch(url, rule="/acme/"), b"a recording")

    @pytest.mark.parametrize(
        "target",
        [
            "/other/secret.wav",
            "../other/secret.wav",
            "http://127.0.0.2:9/acme/c-1.wav",
            "//169.254.169.254/acme/",
        ],
    )
    async def test_are_not_followed_out_of_what_the_tenant_may_name(
        self, site: Site, fetch: Fetch, target: str
    ) -> None:
        site.answers("/other/secret.wav", body=b"secret")
        url = site.answers("/acme/c-1.wav", status=302, headers={"location": f"{target}?{SECRET}"})

        assert await refusal(fetch(url, rule="/acme/")) == ("source_not_allowed", False)
        assert [asked.path for asked in site.asked] == ["/acme/c-1.wav"]

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "s3://recordings/c-1.wav", "ftp://127.0.0.1/x"])
    async def test_are_not_followed_to_another_scheme(self, site: Site, fetch: Fetch, target: str) -> None:
        url = site.answers("/c-1.wav", status=302, headers={"location": target})

        assert await refusal(fetch(url)) == ("bad_redirect", False)

    @pytest.mark.parametrize(
        "target", ["http://[::1", "http://a:b/", "http://exa\u2100mple/", "http://[bad]/"]
    )
    async def test_to_no_address_at_all_are_the_servers_fault(
        self, site: Site, fetch: Fetch, target: str
    ) -> None:
        url = site.answers("/c-1.wav", status=302, headers={"location": target})

        code, _ = await refusal(fetch(url))

        assert code in ("bad_redirect", "fetch_failed", "source_not_allowed")

    @pytest.mark.parametrize("location", [{"location": "/c-1.wav"}, {}])
    async def test_in_a_circle_or_to_nowhere_end(
        self, site: Site, fetch: Fetch, location: dict[str, str]
    ) -> None:
        url = site.answers("/c-1.wav", status=302, headers=location)

        assert await refusal(fetch(url)) == ("bad_redirect", False)
        assert len(site.asked) <= 6


class TestHostileServers:
    async def test_a_body_without_end_is_cut_at_the_cap(
        self, site: Site, fetch: Fetch, tmp_path: Path
    ) -> None:
        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(bytes(65_536))

        url = site.page("/c-1.wav", endless)

        assert await refusal(fetch(f"{url}?{SECRET}")) == ("too_large", False)
        assert (tmp_path / "source").stat().st_size <= MAX_BYTES

    async def test_a_length_over_the_cap_is_believed_at_once(
        self, fetch: Fetch, site: Site, tmp_path: Path
    ) -> None:
        async with raw_server(
            site, f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_BYTES + 1}\r\n\r\n".encode()
        ) as url:
            assert await refusal(fetch(url)) == ("too_large", False)
        assert not (tmp_path / "source").exists()

    async def test_a_body_shorter_than_its_length_is_not_taken_for_whole(
        self, fetch: Fetch, site: Site
    ) -> None:
        async with raw_server(
            site, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it", hang_up=True
        ) as url:
            assert await refusal(fetch(f"{url}?{SECRET}")) == ("fetch_failed", True)

    async def test_a_body_longer_than_its_length_is_read_to_its_length(
        self, fetch: Fetch, site: Site
    ) -> None:
        async with raw_server(
            site, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nRIFFand more", hang_up=True
        ) as url:
            assert is_copy(await fetch(url), b"RIFF")

    async def test_a_chunked_body_that_breaks_off_is_not_taken_for_whole(
        self, fetch: Fetch, site: Site
    ) -> None:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nRIFF\r\n"
        async with raw_server(site, answer, hang_up=True) as url:
            assert await refusal(fetch(url)) == ("fetch_failed", True)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n",
            b"\x00" * 200_000,
        ],
    )
    async def test_an_answer_that_is_no_http_is_the_servers_fault(
        self, fetch: Fetch, site: Site, answer: bytes
    ) -> None:
        async with raw_server(site, answer, hang_up=True) as url:
            assert await refusal(fetch(f"{url}?{SECRET}")) == ("fetch_failed", True)

    @pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, gzip", "br"])
    async def test_an_encoding_that_was_not_asked_for_is_refused(
        self, site: Site, fetch: Fetch, encoding: str
    ) -> None:
        url = site.answers("/c-1.wav", body=b"\x1f\x8b", headers={"content-encoding": encoding})

        assert await refusal(fetch(url)) == ("unexpected_encoding", False)

    @pytest.mark.parametrize(
        ("beginning", "drop"),
        [
            pytest.param(b"", b"", id="silence"),
            pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-Slow: loris\r\n", id="headers without end"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", id="body, byte by byte"),
            pytest.param(
                b"HTTP/1.1 302 Found\r\nLocation: /c-1.wav\r\nContent-Length: 9\r\n\r\n", b"", id="redirect"
            ),
        ],
    )
    async def test_a_server_that_dawdles_is_left_at_the_deadline(
        self, fetch: Fetch, site: Site, beginning: bytes, drop: bytes
    ) -> None:
        began = time.monotonic()
        async with raw_server(site, beginning, drop=drop) as url:
            code, retriable = await refusal(fetch(f"{url}?{SECRET}", deadline_s=1.0))

        assert (code, retriable) in [("fetch_timeout", True), ("bad_redirect", False)]
        assert time.monotonic() - began < 2.5

    async def test_a_server_that_is_away_may_come_back(
        self, fetcher: Callable[..., RecordingFetcher], tmp_path: Path
    ) -> None:
        url = f"http://{LOOPBACK}:{free_port()}"
        fetching = fetcher(f"{url}/").fetch(
            tenant_id="acme", url=f"{url}/c-1.wav?{SECRET}", to=tmp_path / "source"
        )
        assert await refusal(fetching) == ("fetch_failed", True)

    async def test_a_full_scratch_disk_is_an_outage_and_no_calls_fault(
        self, fetcher: Callable[..., RecordingFetcher], site: Site
    ) -> None:
        url = site.answers("/c-1.wav", body=bytes(100_000))

        with pytest.raises(Outage, match=r"scratch disk is away: .*No space left"):
            await fetcher(f"{site.url}/").fetch(tenant_id="acme", url=url, to=Path("/dev/full"))


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "recordings"
        folder.mkdir()
        return folder

    @pytest.fixture
    def copy(self, fetcher: Callable[..., RecordingFetcher], folder: Path, tmp_path: Path) -> Fetch:
        async def copy(url: str) -> Fetched:
            return await fetcher(folder.as_uri()).fetch(tenant_id="acme", url=url, to=tmp_path / "source")

        return copy

    @pytest.mark.parametrize("name", ["c-1.wav", "Gespräch mit Ümläut.wav", "100 % #1?.wav"])
    async def test_a_file_is_copied(self, copy: Fetch, folder: Path, name: str) -> None:
        content = secrets.token_bytes(MAX_BYTES)
        (folder / name).write_bytes(content)

        assert is_copy(await copy((folder / name).as_uri()), content)

    async def test_a_missing_file_may_still_come(self, copy: Fetch, folder: Path) -> None:
        assert await refusal(copy((folder / "c-1.wav").as_uri())) == ("source_not_found", True)

    async def test_a_file_over_the_cap_is_refused(self, copy: Fetch, folder: Path) -> None:
        (folder / "c-1.wav").write_bytes(bytes(MAX_BYTES + 1))

        assert await refusal(copy((folder / "c-1.wav").as_uri())) == ("too_large", False)

    async def test_a_link_is_followed_within_the_folder_and_not_out_of_it(
        self, copy: Fetch, folder: Path, tmp_path: Path
    ) -> None:
        (folder / "there.wav").write_bytes(b"a recording")
        (folder / "inside.wav").symlink_to("there.wav")
        (tmp_path / "secret").write_bytes(b"secret")
        (folder / "outside.wav").symlink_to(tmp_path / "secret")
        (folder / "up").symlink_to(tmp_path, target_is_directory=True)

        assert is_copy(await copy((folder / "inside.wav").as_uri()), b"a recording")
        assert await refusal(copy((folder / "outside.wav").as_uri())) == ("source_not_allowed", False)
        assert await refusal(copy(f"{folder.as_uri()}/up/secret")) == ("source_not_allowed", False)
        assert await refusal(copy(f"{folder.as_uri()}/../secret")) == ("source_not_allowed", False)
        assert await refusal(copy(f"{folder.as_uri()}/%2e%2e/secret")) == ("source_not_allowed", False)

    async def test_what_is_no_file_is_refused_and_not_waited_for(self, copy: Fetch, folder: Path) -> None:
        os.mkfifo(folder / "fifo")
        (folder / "folder").mkdir()
        (folder / "loop").symlink_to("loop")
        (folder / "c-1.wav").write_bytes(b"x")

        async with asyncio.timeout(5):
            for name in ("fifo", "folder", "loop", "c-1.wav/beyond", "x" * 300):
                assert await refusal(copy(f"{folder.as_uri()}/{name}")) == ("source_refused", False), name


@asynccontextmanager
async def raw_server(
    site: Site, beginning: bytes, *, drop: bytes = b"", hang_up: bool = False
) -> AsyncIterator[str]:
    """Answer on the site's host with bytes as they are; then hang up, or send ``drop`` now and then."""
    port_of_site, site.port = site.port, free_port()
    site.url = site.url.replace(str(port_of_site), str(site.port))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(beginning)
            await writer.drain()
            for _ in itertools.count() if not hang_up else ():
                await asyncio.sleep(0.1)
                writer.write(drop)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, site.port)
    try:
        yield f"{site.url}/c-1.wav"
    finally:
        server.close()
