"""The parts that a worker needs: whether each is there, and what to do where it is not."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import asyncpg
import httpx

from agents.errors import Outage
from app import kafka, migrate
from app.kafka_refusals import Refusal
from app.postgres.pool import translated
from app.s3 import S3Client, S3Config, S3Error
from app.settings import Settings

_CHECK_WITHIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class PartHealth:
    """One part's state: ``detail`` says what was seen, ``what_to_do`` how to mend it (empty where it is well)."""

    name: str
    address: str
    ok: bool
    detail: str
    what_to_do: str = ""


async def check_parts(settings: Settings, s3: S3Client, source_s3: S3Client) -> list[PartHealth]:
    """Look at every part, side by side; raises nothing."""
    return list(
        await asyncio.gather(
            check_kafka(settings),
            check_postgres(settings),
            check_s3(settings.s3_bucket, s3, purpose="outputs"),
            check_s3(settings.source_s3_bucket, source_s3, purpose="recordings"),
            check_scratch(settings),
        )
    )


async def check_kafka(settings: Settings) -> PartHealth:
    """Whether the broker answers and has our topics."""
    address = settings.kafka_bootstrap
    try:
        async with asyncio.timeout(_CHECK_WITHIN_S):
            missing = await kafka.missing_topics(settings)
    except Refusal as refusal:
        return PartHealth(
            name="Kafka", address=address, ok=False, detail=refusal.detail, what_to_do=refusal.what_to_do
        )
    except (Outage, TimeoutError) as error:
        return PartHealth(
            name="Kafka",
            address=address,
            ok=False,
            detail=f"does not answer: {_detail(error)}",
            what_to_do="Start the broker, or set CLEARCALL_KAFKA_BOOTSTRAP (and CLEARCALL_KAFKA_SECURITY_PROTOCOL, "
            "CLEARCALL_KAFKA_SASL_*) to where it is.",
        )
    if missing:
        return PartHealth(
            name="Kafka",
            address=address,
            ok=False,
            detail=f"has no topic {', '.join(missing)}",
            what_to_do="Run `clearcall topics`, or create them as docs/events.md describes.",
        )
    return PartHealth(name="Kafka", address=address, ok=True, detail="answers, all topics are there")


async def check_postgres(settings: Settings) -> PartHealth:
    """Whether the database answers and has our tables."""
    address = database_address(settings.dsn)
    head = migrate.head()
    try:
        async with asyncio.timeout(_CHECK_WITHIN_S):
            current = await _schema_version(settings.dsn)
    except (Outage, TimeoutError, ValueError, asyncpg.PostgresError) as error:
        return PartHealth(
            name="Postgres",
            address=address,
            ok=False,
            detail=f"does not answer: {_detail(error)}",
            what_to_do="Start the database, or set CLEARCALL_POSTGRES_DSN to where it is.",
        )
    if current != head:
        return PartHealth(
            name="Postgres",
            address=address,
            ok=False,
            detail=f"has schema version {current or 'none'}, this build needs {head}",
            what_to_do="Run `clearcall migrate`.",
        )
    return PartHealth(name="Postgres", address=address, ok=True, detail=f"answers, schema {head}")


async def check_s3(bucket: str, client: S3Client, *, purpose: str) -> PartHealth:
    """Whether the store answers us and has the bucket."""
    name, address = f"S3 ({purpose})", f"{client.config.endpoint}/{bucket}"
    try:
        async with asyncio.timeout(_CHECK_WITHIN_S):
            there = await client.has_bucket(bucket)
    except (Outage, S3Error, TimeoutError) as error:
        return PartHealth(
            name=name,
            address=address,
            ok=False,
            detail=f"does not {'let us in' if isinstance(error, S3Error) else 'answer'}: {_detail(error)}",
            what_to_do="Start the store, or set CLEARCALL_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY "
            "(CLEARCALL_SOURCE_S3_* for the recordings) to where it is and who asks.",
        )
    if not there:
        return PartHealth(
            name=name,
            address=address,
            ok=False,
            detail=f"has no bucket {bucket!r}",
            what_to_do=f"Make the bucket {bucket!r}; a starting worker makes the outputs' bucket where it may.",
        )
    return PartHealth(name=name, address=address, ok=True, detail="answers, the bucket is there")


async def check_scratch(settings: Settings) -> PartHealth:
    """Whether there is room for files in work."""
    address = str(settings.scratch.absolute())
    try:
        settings.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        free_bytes = shutil.disk_usage(settings.scratch).free
    except OSError as error:
        return PartHealth(
            name="Scratch disk",
            address=address,
            ok=False,
            detail=str(error),
            what_to_do="Set CLEARCALL_SCRATCH_DIR to a folder on disk that may be written.",
        )
    enough = free_bytes >= settings.scratch_min_free_bytes
    return PartHealth(
        name="Scratch disk",
        address=address,
        ok=enough,
        detail=f"{free_bytes / 2**30:.1f} GiB free",
        what_to_do="" if enough else "Make room, or set CLEARCALL_SCRATCH_DIR to a larger disk.",
    )


def output_s3_config(settings: Settings) -> S3Config:
    """Where outputs go."""
    return S3Config(
        part="S3 (outputs)",
        endpoint=settings.s3_endpoint.rstrip("/"),
        region=settings.s3_region,
        access_key=settings.s3_access_key.get_secret_value() if settings.s3_access_key else None,
        secret_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None,
        conditional_puts=not settings.embedded,
    )


def source_s3_config(settings: Settings) -> S3Config:
    """Where recordings lie; the output store unless said otherwise."""
    outputs = output_s3_config(settings)
    access, secret = settings.source_s3_access_key, settings.source_s3_secret_key
    return S3Config(
        part="S3 (recordings)",
        endpoint=(settings.source_s3_endpoint or outputs.endpoint).rstrip("/"),
        region=settings.source_s3_region or outputs.region,
        access_key=access.get_secret_value() if access else outputs.access_key,
        secret_key=secret.get_secret_value() if secret else outputs.secret_key,
    )


def http_client() -> httpx.AsyncClient:
    """One client for every transfer: no proxy variables, no redirects followed by itself."""
    client = httpx.AsyncClient(
        trust_env=False,
        verify=ssl.create_default_context(),  # the system's authorities, an organisation's own among them
        follow_redirects=False,
        timeout=httpx.Timeout(30.0, connect=5.0, pool=60.0),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0),
        headers={"User-Agent": "clearcall"},
    )
    # What a source's server asks to be remembered would else go out with another tenant's fetch.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


def database_address(dsn: str) -> str:
    """Where the database is, without user and password."""
    parts = urlsplit(dsn)
    socket_folder = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair).get("host", "")
    where = parts.hostname or socket_folder or "localhost"
    return f"{where}{f':{parts.port}' if parts.port else ''}{parts.path}"


async def _schema_version(dsn: str) -> str | None:
    with translated():
        connection = await asyncpg.connect(dsn, timeout=5.0)
        try:
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            version: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
            return version
        finally:
            await connection.close(timeout=2.0)


def _detail(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_CHECK_WITHIN_S:g} s"
    return error.detail if isinstance(error, Outage) else str(error)
