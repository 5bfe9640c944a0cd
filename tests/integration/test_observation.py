"""What the oracle judges is read from the real database, store and topics as it is there."""

import io
import json
from pathlib import Path

import asyncpg
import numpy as np
import soundfile
from aiokafka import AIOKafkaProducer

from tests.support.kafka import Kafka
from tests.support.minio import Minio
from tests.support.observation import (
    OUTGOING_TOPICS,
    RejectedRow,
    RenditionRow,
    ResultRow,
    SentEvent,
    observe,
)
from tests.support.worker import real_settings

RESULT_ID = "5f0e6b0a-6c7e-4d0e-9d55-0c1f6f6b7c1e"


async def test_rows_objects_and_events_are_read_as_they_are(
    kafka: Kafka, minio: Minio, database: str, bucket: str, unique_name: str, tmp_path: Path
) -> None:
    """One of each, and one object that is no sound."""
    settings = real_settings(kafka, minio, database, name=unique_name, folder=tmp_path)
    assert settings["CLEARCALL_S3_BUCKET"] == bucket
    url = f"s3://{bucket}/acme/c-1/r-1/d/listen.flac"
    await write_rows(database, url)
    flac = io.BytesIO()
    soundfile.write(flac, np.zeros((800, 2), np.float32), 8000, format="FLAC", subtype="PCM_16")
    client = minio.client()
    client.put_object(bucket, "acme/c-1/r-1/d/listen.flac", io.BytesIO(flac.getvalue()), len(flac.getvalue()))
    client.put_object(bucket, "stray.flac", io.BytesIO(b"no sound"), 8)
    for topic in OUTGOING_TOPICS:
        await kafka.create_topic(f"{unique_name}.{topic}")
    await send_cleaned(kafka, f"{unique_name}.call.cleaned")

    seen = await observe(settings)

    rendition = RenditionRow(name="listen", url=url, sha256="a" * 64, bytes=10, frames=800)
    assert seen.results == (
        ResultRow(
            result_id=RESULT_ID,
            identity=("acme", "c-1", "r-1"),
            status="cleaned",
            attempts=1,
            error_code=None,
            renditions=(rendition,),
        ),
    )
    assert seen.rejected == (RejectedRow(rejected_id=RESULT_ID, value=b"\x00{", error_code="malformed_json"),)
    assert {address: stored.frames for address, stored in seen.objects.items()} == {
        url: 800,
        f"s3://{bucket}/stray.flac": None,
    }
    assert seen.objects[url].bytes == len(flac.getvalue())
    assert seen.events == (
        SentEvent(topic="call.cleaned", key="acme/c-1", headers={"ce_id": "e1"}, body={"event_id": "e1"}),
    )
    assert seen.unsent_events == 1


async def write_rows(database: str, url: str) -> None:
    """A cleaned result with a rendition, a rejected event, and an event that waits to be sent."""
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO recordings VALUES ('acme', 'c-1', 'r-1', 's3://in/c-1.wav')")
    await connection.execute(
        """INSERT INTO results (result_id, tenant_id, call_id, recording_id, chain_name, chain_digest,
                                chain, event, status, attempts, finished_at, report)
           VALUES ($1, 'acme', 'c-1', 'r-1', 'telephony', 'd', '{}', '{}', 'cleaned', 1, now(), '{}')""",
        RESULT_ID,
    )
    await connection.execute(
        "INSERT INTO renditions VALUES ($1, 0, 'listen', $2, 'audio/flac', $3, 10, 8000, 2, 800, 0.1, '{}')",
        RESULT_ID,
        url,
        "a" * 64,
    )
    await connection.execute(
        """INSERT INTO rejected_events (rejected_id, topic, "partition", "offset", sha256, headers, raw,
                                        error_code, error_message)
           VALUES ($1, 'call.recorded', 0, 7, $2, '[]', $3, 'malformed_json', 'no JSON')""",
        RESULT_ID,
        "b" * 64,
        b"\x00{",
    )
    await connection.execute(
        "INSERT INTO outbox (event_id, topic, value, headers) VALUES ('e1', 'call.cleaned', '{}', '[]')"
    )
    await connection.close()


async def send_cleaned(kafka: Kafka, topic: str) -> None:
    """One event with its key and header."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    try:
        body = json.dumps({"event_id": "e1"}).encode()
        await producer.send_and_wait(topic, body, key=b"acme/c-1", headers=[("ce_id", b"e1")])
    finally:
        await producer.stop()
