"""Publishes call.recorded for local files and for addresses."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.errors import Outage
from app import kafka
from app.parts import http_client, source_s3_config
from app.s3 import S3Client, S3Error
from app.settings import Settings
from schemas import decode

_MEDIA_TYPE = "application/octet-stream"


async def submit_recordings(
    settings: Settings,
    recordings: Sequence[str],
    *,
    tenant_id: str,
    call_id: str | None = None,
    roles: Sequence[str] = (),
    chain: str | None = None,
) -> list[str]:
    """Publish one event a recording; answers the call ids. Raises Outage, SchemaError."""
    events: list[dict[str, Any]] = []
    async with http_client() as http:
        store = S3Client(source_s3_config(settings), http)
        for recording in recordings:
            call = call_id or new_call_id(recording)
            event: dict[str, Any] = {
                "schema_version": 1,
                "tenant_id": tenant_id,
                "call_id": call,
                "recording": {"url": recording if "://" in recording else "s3://to-be/stored"},
                "channels": [{"role": role} for role in roles],
                "chain": chain,
            }
            _check(event)  # before anything is stored under names that it gives
            event["recording"] = await located(settings, store, recording, f"{tenant_id}/{call}")
            events.append(event)
    await publish(settings, events)
    return [event["call_id"] for event in events]


async def located(settings: Settings, store: S3Client, recording: str, folder: str) -> dict[str, Any]:
    """Describe where a recording lies, as the event does; a local file is put into the recordings' bucket."""
    if "://" in recording:
        return {"url": recording}
    path = Path(recording)
    with path.open("rb") as file:  # noqa: ASYNC230  (one file, on the command line)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = file.tell()
    # By content: another file of the same name must not take the place of one that an event names.
    key = f"{folder}/{sha256[:16]}/{path.name}"
    bucket = settings.source_s3_bucket
    try:
        await store.ensure_bucket(bucket)
        await store.put(bucket, key, path, media_type=_MEDIA_TYPE, only_new=True)
    except S3Error as error:
        raise Outage(store.config.part, str(error)) from error
    return {"url": f"s3://{bucket}/{key}", "sha256": sha256, "bytes": size_bytes}


async def publish(settings: Settings, events: Sequence[dict[str, Any]]) -> None:
    """Publish events to call.recorded and wait for the broker. Raises SchemaError before any is sent, Outage."""
    values = [_check(event) for event in events]
    producer = AIOKafkaProducer(**kafka.client_options(settings), acks="all")
    try:
        await producer.start()
        for event, value in zip(events, values, strict=True):
            key = f"{event['tenant_id']}/{event['call_id']}".encode()
            await producer.send_and_wait(settings.topic(kafka.RECORDED), value, key=key)
    except (KafkaError, OSError) as error:
        raise await kafka.outage(error, settings) from error
    finally:
        await producer.stop()


def _check(event: dict[str, Any]) -> bytes:
    """Write the event as it is sent. Raises SchemaError: what we would reject ourselves is not sent."""
    value = json.dumps({name: told for name, told in event.items() if told is not None}).encode()
    decode(value)
    return value


def new_call_id(recording: str) -> str:
    """An id from the recording's name, made unique: submitting a file twice gives two calls."""
    name = unquote(urlsplit(recording).path if "://" in recording else recording)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).stem).strip("-._")[:100] or "call"
    return f"{stem}-{secrets.token_hex(3)}"
