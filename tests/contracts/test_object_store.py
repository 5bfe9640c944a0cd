"""What every object store must do for the outputs: the same tests over MinIO and over the embedded stack's rclone."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import app.s3
from agents.errors import Outage
from agents.ports import ObjectRef
from app.embedded.object_store import REGION, EmbeddedObjectStore
from app.parts import http_client
from app.s3 import S3Client, S3Config, S3Error, S3ObjectStore
from tests.support.minio import Minio
from tests.support.ports import free_port

KEY = "acme/c-1/r-1/0123abcd/listen.flac"
FLAC = "audio/flac"


@dataclass(frozen=True)
class Server:
    """A store with a bucket of the test's own."""

    config: S3Config
    bucket: str


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedObjectStore]:
    folder = tmp_path_factory.mktemp("objects")
    running = EmbeddedObjectStore(
        folder,
        access_key="tests",
        secret_key=secrets.token_hex(16),
        log_path=folder.with_name("objects.log"),
    )
    asyncio.run(running.start("any"))
    yield running
    asyncio.run(running.stop())


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
def client(server: Server, http: httpx.AsyncClient) -> S3Client:
    return S3Client(server.config, http)


@pytest.fixture
def store(server: Server, client: S3Client) -> S3ObjectStore:
    return S3ObjectStore(client, server.bucket)


@pytest.fixture
async def _bucket_exists(server: Server, client: S3Client) -> None:
    await client.ensure_bucket(server.bucket)


def written(folder: Path, content: bytes) -> Path:
    path = folder / secrets.token_hex(4)
    path.write_bytes(content)
    return path


async def put(store: S3ObjectStore, folder: Path, content: bytes, *, key: str = KEY) -> ObjectRef:
    path = written(folder, content)
    return await store.put(key, path, sha256=hashlib.sha256(content).hexdigest(), media_type=FLAC)


async def got(client: S3Client, bucket: str, key: str) -> httpx.Response:
    async with http_client() as http:
        return await http.get(client.signed("GET", bucket, key))


def describes(ref: ObjectRef, content: bytes) -> bool:
    return (ref.sha256, ref.bytes) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.usefixtures("_bucket_exists")
class ObjectStoreContract:
    """Subclasses give the fixture ``server``."""

    @pytest.mark.parametrize("size_bytes", [0, 1, 256 * 1024, 9 * 1024 * 1024 + 1])
    async def test_a_file_is_kept_as_it_is(
        self, server: Server, store: S3ObjectStore, client: S3Client, tmp_path: Path, size_bytes: int
    ) -> None:
        content = secrets.token_bytes(size_bytes)

        ref = await put(store, tmp_path, content)

        assert describes(ref, content)
        assert ref.url == f"s3://{server.bucket}/{KEY}"
        answer = await got(client, server.bucket, KEY)
        assert answer.content == content
        assert answer.headers["content-type"] == FLAC
        assert await client.digest(server.bucket, KEY) == (ref.sha256, size_bytes)

    async def test_what_lies_there_stays_and_is_what_the_answer_describes(
        self, server: Server, store: S3ObjectStore, client: S3Client, tmp_path: Path
    ) -> None:
        first = await put(store, tmp_path, b"the first result")

        second = await put(store, tmp_path, b"another machine's result, longer than the first")

        assert second == first
        assert describes(second, b"the first result")
        assert (await got(client, server.bucket, KEY)).content == b"the first result"

    async def test_the_same_file_put_many_times_at_once_is_one_whole_object(
        self, server: Server, store: S3ObjectStore, client: S3Client, tmp_path: Path
    ) -> None:
        content = secrets.token_bytes(1024 * 1024)

        refs = await asyncio.gather(*(put(store, tmp_path, content) for _ in range(6)))

        assert all(describes(ref, content) for ref in refs)
        assert (await got(client, server.bucket, KEY)).content == content

    @pytest.mark.parametrize(
        "call_id",
        [
            "plain",
            "sip:kim@example.org",
            "a..b",
            "ends.",
            "ends:@_-",
            "CON",
            "1" * 128,
            "0:@._-" * 21,
        ],
    )
    async def test_every_id_makes_a_key(
        self, server: Server, store: S3ObjectStore, client: S3Client, tmp_path: Path, call_id: str
    ) -> None:
        key = f"{call_id}/{call_id}/{call_id}/{'f' * 64}/listen.flac"

        ref = await put(store, tmp_path, call_id.encode(), key=key)

        assert ref.url == f"s3://{server.bucket}/{key}"
        assert (await got(client, server.bucket, key)).content == call_id.encode()

    async def test_ids_that_differ_in_case_are_different(
        self, server: Server, store: S3ObjectStore, client: S3Client, tmp_path: Path
    ) -> None:
        for call_id in ("Call", "call"):
            await put(store, tmp_path, call_id.encode(), key=f"acme/{call_id}/r/d/listen.flac")

        for call_id in ("Call", "call"):
            answer = await got(client, server.bucket, f"acme/{call_id}/r/d/listen.flac")
            assert answer.content == call_id.encode()

    async def test_a_put_that_breaks_off_leaves_nothing_and_can_be_made_up_for(
        self,
        server: Server,
        store: S3ObjectStore,
        client: S3Client,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        content = secrets.token_bytes(3 * 1024 * 1024)
        half_is_sent = asyncio.Event()

        async def half(_path: Path) -> AsyncIterator[bytes]:
            yield content[: len(content) // 2]
            half_is_sent.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            patched.setattr(app.s3, "_chunks", half)
            putting = asyncio.create_task(put(store, tmp_path, content))
            await half_is_sent.wait()
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting

        for _ in range(10):
            assert (await got(client, server.bucket, KEY)).status_code == httpx.codes.NOT_FOUND
            await asyncio.sleep(0.03)
        assert describes(await put(store, tmp_path, content), content)
        assert (await got(client, server.bucket, KEY)).content == content

    async def test_bytes_that_change_on_the_way_are_refused(
        self,
        server: Server,
        store: S3ObjectStore,
        client: S3Client,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def other_bytes(path: Path) -> AsyncIterator[bytes]:
            yield bytes(len(path.read_bytes()))

        monkeypatch.setattr(app.s3, "_chunks", other_bytes)

        with pytest.raises(Outage, match="answered 4"):
            await put(store, tmp_path, b"a result")

        assert (await got(client, server.bucket, KEY)).status_code == httpx.codes.NOT_FOUND

    @pytest.mark.parametrize("wrong", [{"access_key": "nobody"}, {"secret_key": "guessed-wrong"}])
    async def test_wrong_credentials_are_an_outage_that_says_so_and_not_a_calls_fault(
        self, server: Server, http: httpx.AsyncClient, tmp_path: Path, wrong: dict[str, Any]
    ) -> None:
        stranger = S3Client(replace(server.config, **wrong), http)

        with pytest.raises(Outage) as refused:
            await put(S3ObjectStore(stranger, server.bucket), tmp_path, b"a result")
        assert refused.value.part == server.config.part
        assert "403" in refused.value.detail
        assert any(code in refused.value.detail for code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"))
        assert_no_secret(refused.value, server.config)
        # Answers about buckets have no body, and so no code: 403 is all that can be told.
        with pytest.raises((Outage, S3Error), match="403") as looked:
            await stranger.has_bucket(server.bucket)
        assert_no_secret(looked.value, server.config)

    async def test_no_credentials_are_an_outage_that_names_the_settings(
        self, server: Server, http: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        nobody = S3Client(replace(server.config, access_key=None, secret_key=None), http)

        with pytest.raises(Outage, match="set CLEARCALL_S3_ACCESS_KEY"):
            await put(S3ObjectStore(nobody, server.bucket), tmp_path, b"a result")

    async def test_a_missing_bucket_is_an_outage_that_names_it(
        self, client: S3Client, tmp_path: Path, unique_name: str
    ) -> None:
        missing = f"{unique_name}-missing"

        assert not await client.has_bucket(missing)
        with pytest.raises(Outage, match=f"404 NoSuchBucket to store {missing}/{KEY}"):
            await put(S3ObjectStore(client, missing), tmp_path, b"a result")

    async def test_a_bucket_is_made_once(self, client: S3Client, unique_name: str) -> None:
        bucket = f"{unique_name}-new"
        await asyncio.gather(*(client.ensure_bucket(bucket) for _ in range(3)))

        await client.ensure_bucket(bucket)

        assert await client.has_bucket(bucket)
        await asyncio.to_thread(client._minio.remove_bucket, bucket)

    async def test_a_missing_object_is_told_apart_from_an_outage(
        self, server: Server, client: S3Client
    ) -> None:
        with pytest.raises(S3Error) as missing:
            await client.digest(server.bucket, "acme/nothing")

        assert (missing.value.status, missing.value.code, missing.value.is_outage) == (
            404,
            "NoSuchKey",
            False,
        )

    async def test_a_store_that_is_away_is_an_outage_that_says_where(
        self, server: Server, http: httpx.AsyncClient, tmp_path: Path
    ) -> None:
        endpoint = f"http://127.0.0.1:{free_port()}"
        away = S3Client(replace(server.config, endpoint=endpoint), http)

        for asked in (
            put(S3ObjectStore(away, server.bucket), tmp_path, b"a result"),
            away.digest(server.bucket, KEY),
            away.has_bucket(server.bucket),
            away.ensure_bucket(server.bucket),
        ):
            with pytest.raises(Outage, match=endpoint) as outage:
                await asked
            assert_no_secret(outage.value, server.config)


class TestMinio(ObjectStoreContract):
    @pytest.fixture
    def server(self, minio: Minio, bucket: str) -> Server:
        return Server(
            S3Config(
                part="S3 (outputs)",
                endpoint=minio.endpoint,
                region=REGION,
                access_key=minio.access_key,
                secret_key=minio.secret_key,
            ),
            bucket,
        )

    async def test_of_different_files_put_at_once_one_stays_and_every_answer_describes_it(
        self, server: Server, store: S3ObjectStore, client: S3Client, tmp_path: Path
    ) -> None:
        contents = [secrets.token_bytes(300_000 + number) for number in range(6)]

        refs = await asyncio.gather(*(put(store, tmp_path, content) for content in contents))

        kept = (await got(client, server.bucket, KEY)).content
        assert kept in contents
        assert all(describes(ref, kept) for ref in refs)


class TestEmbedded(ObjectStoreContract):
    @pytest.fixture
    def server(self, rclone: EmbeddedObjectStore, unique_name: str) -> Server:
        return Server(
            S3Config(
                part="S3 (outputs)",
                endpoint=rclone.endpoint,
                region=REGION,
                access_key=rclone.access_key,
                secret_key=rclone.secret_key,
                conditional_puts=False,
            ),
            unique_name,
        )


def assert_no_secret(error: Exception, config: S3Config) -> None:
    for secret in (config.secret_key, "X-Amz-Signature"):
        assert secret is not None
        assert secret not in str(error)
