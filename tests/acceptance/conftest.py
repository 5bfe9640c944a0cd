"""The stacks that a whole Clearcall is tested on."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.stacks import EmbeddedStack, RealStack, Stack
from tests.support.kafka import Kafka
from tests.support.minio import Minio
from tests.support.worker import real_settings


@pytest.fixture
def source_bucket(minio: Minio, unique_name: str) -> Iterator[str]:
    """The name of a bucket of this test's own, for recordings."""
    yield from minio.temporary_bucket(f"{unique_name}-source")


@pytest.fixture
def real_worker_settings(
    kafka: Kafka, minio: Minio, database: str, bucket: str, unique_name: str, tmp_path: Path
) -> dict[str, str]:
    """Settings with everything in them this test's own."""
    settings = real_settings(kafka, minio, database, name=unique_name, folder=tmp_path)
    assert settings["CLEARCALL_S3_BUCKET"] == bucket
    return settings


@pytest.fixture
def real_stack(
    kafka: Kafka, real_worker_settings: dict[str, str], source_bucket: str, tmp_path: Path
) -> Iterator[RealStack]:
    """Apache Kafka, Postgres and MinIO."""
    with closing(
        RealStack(kafka, real_worker_settings, source_bucket=source_bucket, folder=tmp_path)
    ) as stack:
        yield stack


@pytest.fixture
def embedded_stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    """``clearcall up``."""
    with closing(EmbeddedStack(tmp_path)) as stack:
        yield stack


@pytest.fixture(
    params=[
        pytest.param("real_stack", id="real", marks=[pytest.mark.real_kafka, pytest.mark.real_minio]),
        pytest.param("embedded_stack", id="embedded"),
    ]
)
def stack(request: pytest.FixtureRequest) -> Stack:
    """Each of both in turn; ``stack.exemptions`` says what the embedded one is not asked for."""
    chosen: Stack = request.getfixturevalue(request.param)
    return chosen
