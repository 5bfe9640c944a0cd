"""What is said of each part: where it is, whether it is well, and what to do where it is not; never a secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.kafka import create_topics
from app.parts import (
    PartHealth,
    check_parts,
    check_postgres,
    database_address,
    http_client,
    output_s3_config,
    source_s3_config,
)
from app.s3 import S3Client
from app.settings import Settings
from tests.support.kafka import Kafka
from tests.support.minio import Minio
from tests.support.ports import LOOPBACK, free_port


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


async def looked_at(settings: Settings, http: httpx.AsyncClient) -> dict[str, PartHealth]:
    parts = await check_parts(
        settings, S3Client(output_s3_config(settings), http), S3Client(source_s3_config(settings), http)
    )
    return {part.name: part for part in parts}


async def test_parts_that_are_not_there_are_named_with_their_address_and_a_remedy(
    http: httpx.AsyncClient, tmp_path: Path
) -> None:
    kafka, postgres, s3 = (f"{LOOPBACK}:{free_port()}" for _ in range(3))
    (tmp_path / "file").write_bytes(b"")
    settings = Settings(
        kafka_bootstrap=kafka,
        postgres_dsn=f"postgresql://clearcall:hush@{postgres}/clearcall",
        s3_endpoint=f"http://{s3}",
        s3_access_key="hush",
        s3_secret_key="hush",
        scratch_dir=tmp_path / "file" / "scratch",
    )

    parts = await looked_at(settings, http)

    addresses = {
        "Kafka": kafka,
        "Postgres": f"{postgres}/clearcall",
        "S3 (outputs)": f"http://{s3}/clearcall",
        "S3 (recordings)": f"http://{s3}/recordings",
        "Scratch disk": str(tmp_path / "file" / "scratch"),
    }
    assert {name: part.address for name, part in parts.items()} == addresses
    for part in parts.values():
        assert not part.ok
        assert part.detail
        assert "CLEARCALL_" in part.what_to_do
        assert "hush" not in f"{part}"


async def test_parts_that_are_there_are_told_what_they_lack_and_then_that_they_are_well(
    kafka: Kafka, minio: Minio, empty_database: str, unique_name: str, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    settings = Settings(
        kafka_bootstrap=kafka.bootstrap,
        topic_prefix=f"{unique_name}.",
        postgres_dsn=empty_database,
        s3_endpoint=minio.endpoint,
        s3_access_key=minio.access_key,
        s3_secret_key=minio.secret_key,
        s3_bucket=unique_name,
        source_s3_bucket=f"{unique_name}-source",
        scratch_dir=tmp_path / "scratch",
        scratch_min_free_bytes=2**60,
    )
    lacking = await looked_at(settings, http)
    assert not any(part.ok for part in lacking.values())
    assert f"has no topic {unique_name}.call.recorded" in lacking["Kafka"].detail
    assert "clearcall topics" in lacking["Kafka"].what_to_do
    assert "has schema version none" in lacking["Postgres"].detail
    assert "clearcall migrate" in lacking["Postgres"].what_to_do
    assert f"has no bucket '{unique_name}'" in lacking["S3 (outputs)"].detail
    assert "GiB free" in lacking["Scratch disk"].detail
    assert "Make room" in lacking["Scratch disk"].what_to_do

    await create_topics(settings)
    from app.migrate import upgrade  # noqa: PLC0415 - heavy, and for this test alone

    await upgrade(empty_database)
    for bucket in (unique_name, f"{unique_name}-source"):
        minio.client().make_bucket(bucket)
    well = await looked_at(settings.model_copy(update={"scratch_min_free_bytes": 0}), http)
    for bucket in (unique_name, f"{unique_name}-source"):
        minio.client().remove_bucket(bucket)

    assert [part for part in well.values() if not part.ok] == []
    assert all(part.what_to_do == "" for part in well.values())


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://clearcall:hush@{address}/no_such_database",
        "postgresql://nobody:hush@{address}/postgres",
    ],
)
async def test_a_database_that_does_not_let_us_in_is_told_without_the_password(
    shared_database: str, dsn: str
) -> None:
    address = shared_database.partition("@")[2].partition("/")[0]

    part = await check_postgres(Settings(postgres_dsn=dsn.format(address=address)))

    assert not part.ok
    assert part.what_to_do
    assert "hush" not in f"{part}"


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("postgresql://u:hush@db:5433/clearcall", "db:5433/clearcall"),
        ("postgresql://u:hush@db/clearcall?sslmode=require", "db/clearcall"),
        ("postgresql://u:hush%40h@db:5432/x", "db:5432/x"),
        ("postgresql://u:hush@/clearcall?host=/run/postgresql", "/run/postgresql/clearcall"),
        ("postgresql:///clearcall", "localhost/clearcall"),
    ],
)
def test_a_databases_address_is_told_without_user_and_password(dsn: str, address: str) -> None:
    assert database_address(dsn) == address
