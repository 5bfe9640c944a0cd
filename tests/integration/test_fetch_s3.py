"""Fetching from S3, over a real MinIO."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from agents.errors import CallError, Outage
from app.fetch import RecordingFetcher
from app.parts import http_client
from app.s3 import S3Client, S3Config
from app.sources import SourcePolicy
from tests.support.minio import REGION, Minio

MAX_BYTES = 300_000

MakeFetcher: TypeAlias = Callable[..., RecordingFetcher]


@pytest.fixture
def config(minio: Minio) -> S3Config:
    return S3Config(
        part="S3 (recordings)",
        endpoint=minio.endpoint,
        region=REGION,
        access_key=minio.access_key,
        secret_key=minio.secret_key,
    )


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
def make(config: S3Config, http: httpx.AsyncClient) -> MakeFetcher:
    def make(*rules: str, config: S3Config = config, deadline_s: float = 10.0) -> RecordingFetcher:
        return RecordingFetcher(
            policy=SourcePolicy({"acme": rules}, output_bucket="outputs"),
            s3=S3Client(config, http),
            http=http,
            max_bytes=MAX_BYTES,
            deadline_s=deadline_s,
        )

    return make


def put(minio: Minio, bucket: str, key: str, content: bytes) -> str:
    minio.client().put_object(bucket, key, io.BytesIO(content), len(content))
    return f"s3://{bucket}/{key}"


@pytest.mark.parametrize(
    "key",
    ["c-1.wav", "2026/11/a b+c&d=e.wav", "Gespräch 100% #1?x=y.wav", "%41.wav", "sip:kim@example.org.wav"],
)
@pytest.mark.parametrize("size_bytes", [0, MAX_BYTES])
async def test_an_object_arrives_whole_and_hashed(
    minio: Minio, bucket: str, make: MakeFetcher, tmp_path: Path, key: str, size_bytes: int
) -> None:
    content = bytes(range(256)) * (size_bytes // 256 + 1)
    content = content[:size_bytes]
    url = put(minio, bucket, key, content)

    fetched = await make(f"s3://{bucket}/").fetch(tenant_id="acme", url=url, to=tmp_path / "source")

    assert (fetched.bytes, fetched.sha256) == (size_bytes, hashlib.sha256(content).hexdigest())
    assert fetched.path.read_bytes() == content


@pytest.mark.parametrize(
    ("url", "code", "retriable"),
    [
        ("s3://{bucket}/not-yet-there.wav", "source_not_found", True),
        ("s3://{bucket}-gone/c-1.wav", "source_not_found", False),
        ("s3://{bucket}/large.wav", "too_large", False),
        ("s3://outputs/acme/c-1/listen.flac", "source_not_allowed", False),
        ("s3://somebody-elses/c-1.wav", "source_not_allowed", False),
    ],
)
async def test_what_cannot_be_had_says_why(
    minio: Minio, bucket: str, make: MakeFetcher, tmp_path: Path, url: str, code: str, *, retriable: bool
) -> None:
    put(minio, bucket, "large.wav", bytes(MAX_BYTES + 1))
    fetcher = make(f"s3://{bucket}/", f"s3://{bucket}-gone/", "s3://outputs/")

    with pytest.raises(CallError) as refused:
        await fetcher.fetch(tenant_id="acme", url=url.format(bucket=bucket), to=tmp_path / "source")

    assert (refused.value.code, refused.value.retriable) == (code, retriable)
    assert url.format(bucket=bucket).split("/", 3)[2] in refused.value.message
    assert "X-Amz" not in refused.value.message


async def test_wrong_credentials_are_an_outage_that_tells_no_secret(
    minio: Minio,
    bucket: str,
    make: MakeFetcher,
    config: S3Config,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Outage) as refused:
        await make(f"s3://{bucket}/", config=replace(config, secret_key="guessed-wrong")).fetch(
            tenant_id="acme", url=f"s3://{bucket}/c-1.wav", to=tmp_path / "source"
        )

    assert refused.value.part == "S3 (recordings)"
    assert "403 SignatureDoesNotMatch" in refused.value.detail
    for told in (str(refused.value), str(refused.value.__cause__)):
        assert "X-Amz-Signature" not in told
        assert config.secret_key is not None
        assert config.secret_key not in told


async def test_a_store_that_is_away_is_an_outage_and_no_calls_fault(
    minio: Minio, bucket: str, make: MakeFetcher, config: S3Config, tmp_path: Path
) -> None:
    url = put(minio, bucket, "c-1.wav", b"a recording")
    minio.stop()
    with pytest.raises(Outage, match=config.endpoint) as outage:
        await make(f"s3://{bucket}/").fetch(tenant_id="acme", url=url, to=tmp_path / "source")
    assert "X-Amz" not in str(outage.value)

    minio.start()
    fetched = await make(f"s3://{bucket}/").fetch(tenant_id="acme", url=url, to=tmp_path / "source")
    assert fetched.bytes == len(b"a recording")


async def test_a_store_that_falls_silent_is_an_outage_and_no_calls_fault(
    minio: Minio, bucket: str, make: MakeFetcher, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    url = put(minio, bucket, "c-1.wav", b"a recording")
    http.timeout = httpx.Timeout(0.3)
    minio.process.suspend()

    with pytest.raises(Outage, match="ReadTimeout"):
        await make(f"s3://{bucket}/").fetch(tenant_id="acme", url=url, to=tmp_path / "source")
    minio.process.resume()


async def test_an_object_that_dribbles_costs_the_deadline(
    minio: Minio, bucket: str, make: MakeFetcher, tmp_path: Path
) -> None:
    url = put(minio, bucket, "c-1.wav", b"a recording")
    minio.process.suspend()

    with pytest.raises(CallError) as late:
        await make(f"s3://{bucket}/", deadline_s=0.3).fetch(tenant_id="acme", url=url, to=tmp_path / "source")

    assert (late.value.code, late.value.retriable) == ("fetch_timeout", True)
    minio.process.resume()
