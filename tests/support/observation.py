"""What is there after a run: rows in Postgres, objects in the S3 store, events on the topics."""

import asyncio
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import soundfile
from aiokafka import ConsumerRecord
from minio import Minio as S3Client

from tests.support.kafka import read_records

OUTGOING_TOPICS = ("call.cleaned", "call.failed", "call.rejected")

Identity = tuple[str, str, str]
"""Tenant, call and recording id."""


@dataclass(frozen=True, kw_only=True)
class RenditionRow:
    """One row of ``renditions``."""

    name: str
    url: str
    sha256: str
    bytes: int
    frames: int


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One row of ``results`` with its renditions."""

    result_id: str
    identity: Identity
    status: str
    attempts: int
    error_code: str | None
    renditions: tuple[RenditionRow, ...]


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """One row of ``rejected_events``; ``value`` is the record's value as kept."""

    rejected_id: str
    value: bytes | None
    error_code: str


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object of the output bucket; ``frames`` by decoding it whole, None where it does not decode."""

    sha256: str
    bytes: int
    frames: int | None


@dataclass(frozen=True, kw_only=True)
class SentEvent:
    """One record of an outgoing topic; ``topic`` without the prefix."""

    topic: str
    key: str | None
    headers: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything that one run has left behind. ``objects`` by their ``s3://`` address."""

    results: tuple[ResultRow, ...]
    rejected: tuple[RejectedRow, ...]
    objects: Mapping[str, StoredObject]
    events: tuple[SentEvent, ...]
    unsent_events: int


async def observe(settings: Mapping[str, str]) -> Observation:
    """Read all there is on the stack that the ``CLEARCALL_*`` settings name."""
    connection = await asyncpg.connect(settings["CLEARCALL_POSTGRES_DSN"])
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            results = await _results(connection)
            rejected = await _rejected(connection)
            unsent_events = await connection.fetchval("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
    finally:
        await connection.close()
    return Observation(
        results=results,
        rejected=rejected,
        objects=await asyncio.to_thread(stored_objects, settings),
        events=await sent_events(settings),
        unsent_events=unsent_events,
    )


def s3_client(settings: Mapping[str, str]) -> S3Client:
    """A client of the output store."""
    endpoint = urlsplit(settings["CLEARCALL_S3_ENDPOINT"])
    return S3Client(
        endpoint.netloc,
        access_key=settings["CLEARCALL_S3_ACCESS_KEY"],
        secret_key=settings["CLEARCALL_S3_SECRET_KEY"],
        secure=endpoint.scheme == "https",
        region=settings.get("CLEARCALL_S3_REGION", "us-east-1"),
    )


def read_object(client: S3Client, bucket: str, key: str) -> bytes:
    """The whole object."""
    response = client.get_object(bucket, key)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def stored_objects(settings: Mapping[str, str]) -> dict[str, StoredObject]:
    """Every object of the output bucket, decoded."""
    client = s3_client(settings)
    bucket = settings["CLEARCALL_S3_BUCKET"]
    found = {}
    for entry in client.list_objects(bucket, recursive=True):
        content = read_object(client, bucket, entry.object_name or "")
        found[f"s3://{bucket}/{entry.object_name}"] = StoredObject(
            sha256=hashlib.sha256(content).hexdigest(), bytes=len(content), frames=_frames(content)
        )
    return found


async def sent_events(settings: Mapping[str, str]) -> tuple[SentEvent, ...]:
    """Every event on the outgoing topics, repeats included."""
    prefix = settings.get("CLEARCALL_TOPIC_PREFIX", "")
    events: list[SentEvent] = []
    for topic in OUTGOING_TOPICS:
        records = await read_records(settings["CLEARCALL_KAFKA_BOOTSTRAP"], f"{prefix}{topic}")
        events += [_sent_event(topic, record) for record in records]
    return tuple(events)


async def events_marked_sent(settings: Mapping[str, str]) -> tuple[SentEvent, ...]:
    """Every event that the outbox has as sent: what is left to know of those that a broker has forgotten."""
    connection = await asyncpg.connect(settings["CLEARCALL_POSTGRES_DSN"])
    try:
        rows = await connection.fetch("SELECT * FROM outbox WHERE sent_at IS NOT NULL ORDER BY outbox_id")
    finally:
        await connection.close()
    return tuple(
        SentEvent(
            topic=row["topic"],
            key=None if row["key"] is None else row["key"].decode(),
            headers=dict(json.loads(row["headers"])),
            body=json.loads(row["value"]),
        )
        for row in rows
    )


def _sent_event(topic: str, record: ConsumerRecord[bytes, bytes]) -> SentEvent:
    return SentEvent(
        topic=topic,
        key=None if record.key is None else record.key.decode(),
        headers={name: value.decode() for name, value in record.headers},
        body=json.loads(record.value or b"null"),
    )


async def _results(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[ResultRow, ...]:
    renditions: dict[str, list[RenditionRow]] = {}
    for row in await connection.fetch("SELECT * FROM renditions ORDER BY result_id, position"):
        renditions.setdefault(str(row["result_id"]), []).append(
            RenditionRow(**{name: row[name] for name in ("name", "url", "sha256", "bytes", "frames")})
        )
    return tuple(
        ResultRow(
            result_id=str(row["result_id"]),
            identity=(row["tenant_id"], row["call_id"], row["recording_id"]),
            status=row["status"],
            attempts=row["attempts"],
            error_code=row["error_code"],
            renditions=tuple(renditions.get(str(row["result_id"]), ())),
        )
        for row in await connection.fetch("SELECT * FROM results ORDER BY queued_at, result_id")
    )


async def _rejected(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[RejectedRow, ...]:
    rows = await connection.fetch(
        "SELECT rejected_id, raw, error_code FROM rejected_events ORDER BY rejected_at"
    )
    return tuple(
        RejectedRow(rejected_id=str(row["rejected_id"]), value=row["raw"], error_code=row["error_code"])
        for row in rows
    )


def _frames(content: bytes) -> int | None:
    try:
        samples, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return None
    return len(samples)
