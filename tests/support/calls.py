"""Rows of calls in every state, written straight into the tables, as the pipeline would leave them."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from schemas import result_id

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DIGEST = "5d41402abc4b2a76b9719d911017c592ae2f4b1d"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A result; what is not said is that of an ordinary one."""

    call_id: str
    tenant_id: str = "default"
    recording_id: str | None = None
    status: str = "cleaned"
    queued_at: datetime = NOON
    first_seen_at: datetime | None = None
    digest: str = DIGEST
    chain_name: str = "telephony"
    attempts: int | None = None
    error: tuple[str, str, bool] | None = None
    wait_s: float = 0.0
    source_url: str = "s3://recordings/default/call.wav"
    before_lufs: float | None = -31.2
    noise_dbfs: float | None = -48.4
    duration_s: float = 60.0
    work_s: float = 0.4
    event: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[dict[str, Any], ...] = ()

    @property
    def recording(self) -> str:
        return self.recording_id or self.call_id

    @property
    def result_id(self) -> uuid.UUID:
        return result_id(self.tenant_id, self.call_id, self.recording, self.digest)


def measured(index: int, role: str | None, *, lufs: float | None, noise_dbfs: float | None) -> dict[str, Any]:
    """One channel's statistics."""
    speech_dbfs = None if lufs is None else lufs - 1.8
    return {
        "index": index,
        "role": role,
        "integrated_lufs": lufs,
        "loudness_range_lu": 5.3,
        "true_peak_dbtp": None if lufs is None else min(-1.5, lufs + 19.4),
        "sample_peak_dbfs": None if lufs is None else min(-1.6, lufs + 19.1),
        "speech_level_dbfs": speech_dbfs,
        "noise_floor_dbfs": noise_dbfs,
        "snr_db": None if speech_dbfs is None or noise_dbfs is None else speech_dbfs - noise_dbfs,
        "clipped_samples": 3 if index else 0,
        "speech_s": 22.1,
    }


def report(row: Row) -> dict[str, Any]:
    """What the engine says of the recording, without its renditions."""
    lufs, noise = row.before_lufs, row.noise_dbfs
    quieter = None if lufs is None else lufs - 6.5
    return {
        "input": {
            "path": "/scratch/source",
            "sha256": hashlib.sha256(row.call_id.encode()).hexdigest(),
            "bytes": 960_044,
            "container": "wav",
            "codec": "pcm_mulaw",
            "sample_rate_hz": 8000,
            "channels": 2,
            "frames": round(row.duration_s * 8000),
            "duration_s": row.duration_s,
        },
        "chain": {"name": row.chain_name, "digest": row.digest},
        "before": {
            "programme": {"integrated_lufs": lufs, "loudness_range_lu": 5.0, "true_peak_dbtp": -9.8},
            "channels": [
                measured(0, "agent", lufs=lufs, noise_dbfs=noise),
                measured(1, "customer", lufs=quieter, noise_dbfs=None if noise is None else noise - 4),
            ],
        },
        "warnings": list(row.warnings),
        "engine": {"output_version": 1, "dsp": "0.1.0"},
        "timing": {"wall_s": 0.1, "cpu_s": 0.1, "realtime_factor": 600.0, "stages_s": {"decode": 0.01}},
    }


def after(row: Row, *, denoised: bool) -> dict[str, Any]:
    """What was measured on a rendition."""
    noise = None if row.noise_dbfs is None else row.noise_dbfs - (14.0 if denoised else -8.0)
    denoise = {"method": "spectral_gate", "applied": True, "reason": "snr 14.2 dB"} if denoised else None
    return {
        "programme": {"integrated_lufs": -16.0, "loudness_range_lu": 4.2, "true_peak_dbtp": -1.5},
        "channels": [
            {**measured(index, role, lufs=-16.0, noise_dbfs=noise), "denoise": denoise}
            for index, role in enumerate(("agent", "customer"))
        ],
    }


async def add(connection: Connection, *rows: Row) -> None:
    """Write results, their recordings and, of cleaned ones, their renditions."""
    for row in rows:
        await connection.execute(
            "INSERT INTO recordings (tenant_id, call_id, recording_id, source_url, first_seen_at) "
            "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            row.tenant_id,
            row.call_id,
            row.recording,
            row.source_url,
            row.first_seen_at or row.queued_at,
        )
        values = _columns(row)
        names = ", ".join(values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await connection.execute(f"INSERT INTO results ({names}) VALUES ({places})", *values.values())  # noqa: S608
        if row.status == "cleaned":
            await _add_renditions(connection, row)


async def reject(
    connection: Connection,
    *,
    call_id: str | None = None,
    tenant_id: str | None = "default",
    rejected_at: datetime = NOON,
    error: tuple[str, str, str | None] = ("malformed_json", "The event is no JSON: line 1, column 2.", None),
    offset: int = 0,
    replayed_at: datetime | None = None,
) -> uuid.UUID:
    """Write a rejected event."""
    rejected_id = uuid.uuid4()
    await connection.execute(
        'INSERT INTO rejected_events (rejected_id, topic, "partition", "offset", sha256, headers, raw, error_code, '
        "error_message, error_field, tenant_id, call_id, recording_id, rejected_at, replayed_at) "
        "VALUES ($1, 'call.recorded', 0, $2, $3, '[]', $4, $5, $6, $7, $8, $9, $9, $10, $11)",
        rejected_id,
        offset,
        hashlib.sha256(b"{").hexdigest(),
        b"{",
        *error,
        tenant_id,
        call_id,
        rejected_at,
        replayed_at,
    )
    return rejected_id


def _columns(row: Row) -> dict[str, Any]:
    ended = row.status in {"cleaned", "failed", "erased"}
    cleaned = row.status == "cleaned"
    began = row.status == "processing" or ended
    attempts = row.attempts if row.attempts is not None else int(ended)
    code, message, retriable = row.error or (None, None, None)
    started_at = row.queued_at + timedelta(seconds=0.2)
    processing = row.status == "processing"
    return {
        "result_id": row.result_id,
        "tenant_id": row.tenant_id,
        "call_id": row.call_id,
        "recording_id": row.recording,
        "chain_name": row.chain_name,
        "chain_digest": row.digest,
        "chain": {},
        "event": {"tenant_id": row.tenant_id, "call_id": row.call_id, **row.event},
        "status": row.status,
        "queued_at": row.queued_at,
        "next_attempt_at": datetime.now(UTC) + timedelta(seconds=row.wait_s),
        "attempts": attempts,
        "lease_token": 1 if began else None,
        "lease_expires_at": datetime.now(UTC) + timedelta(seconds=8) if processing else None,
        "worker": "worker-1" if processing else None,
        "started_at": started_at if began else None,
        "finished_at": started_at + timedelta(seconds=row.work_s) if ended else None,
        "error_code": code,
        "error_message": message,
        "error_retriable": retriable,
        "report": report(row) if cleaned else None,
        "duration_s": row.duration_s if cleaned else None,
        "before_lufs": row.before_lufs if cleaned else None,
        "after_lufs": -16.0 if cleaned else None,
        "before_noise_floor_dbfs": row.noise_dbfs if cleaned else None,
        "after_noise_floor_dbfs": row.noise_dbfs - 14 if cleaned and row.noise_dbfs is not None else None,
    }


async def _add_renditions(connection: Connection, row: Row) -> None:
    folder = f"s3://clearcall/{row.tenant_id}/{row.call_id}/{row.recording}/{row.digest}"
    for position, (name, file, media_type) in enumerate(
        (("listen", "listen.flac", "audio/flac"), ("asr", "asr.wav", "audio/wav"))
    ):
        await connection.execute(
            "INSERT INTO renditions (result_id, position, name, url, media_type, sha256, bytes, sample_rate_hz, "
            "channels, frames, duration_s, after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            row.result_id,
            position,
            name,
            f"{folder}/{file}",
            media_type,
            hashlib.sha256(f"{row.call_id} {name}".encode()).hexdigest(),
            402_113 * (position + 1),
            8000,
            2,
            round(row.duration_s * 8000),
            row.duration_s,
            after(row, denoised=name == "listen"),
        )
