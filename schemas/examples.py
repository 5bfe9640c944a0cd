"""One example of each event: they stand in the published schemas, and tests hold them to those."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from schemas.ids import cleaned_event_id, erased_event_id, failed_event_id, rejected_id, result_id
from schemas.outgoing import raw_text

_TENANT: Final = "acme"
_CALL: Final = "c-42"
_RECORDING: Final = "r-1"
_WHO: Final = {"tenant_id": _TENANT, "call_id": _CALL, "recording_id": _RECORDING}

_DIGEST: Final = hashlib.sha256(b"an example chain").hexdigest()
_CHAIN: Final = {"name": "telephony", "digest": _DIGEST}
_RESULT: Final = result_id(_TENANT, _CALL, _RECORDING, _DIGEST)
_ORIGINAL: Final = {
    "url": "s3://recordings/acme/c-42.wav",
    "sha256": hashlib.sha256(b"an example recording").hexdigest(),
    "bytes": 960_044,
}
_METADATA: Final = {"campaign": "spring"}

RECORDED: Final[dict[str, Any]] = {
    "schema_version": 1,
    **_WHO,
    "recorded_at": "2026-11-20T10:00:00Z",
    "recording": {
        "url": "s3://recordings/acme/c-42.wav",
        "sha256": None,
        "bytes": None,
        "encoding": {"format": "ulaw", "sample_rate_hz": 8000, "channels": 2},
    },
    "channels": [{"role": "agent", "name": "Kim"}, {"role": "customer"}],
    "direction": "inbound",
    "agent_id": "a-7",
    "queue": "sales",
    "pauses": [{"start_s": 61.0, "end_s": 92.5, "reason": "payment"}],
    "retention": {"days": 90, "legal_hold": False},
    "chain": "telephony",
    "metadata": _METADATA,
}


_LOUDNESS_KEYS: Final = (
    "integrated_lufs",
    "loudness_range_lu",
    "true_peak_dbtp",
    "momentary_max_lufs",
    "short_term_max_lufs",
)
_LEVEL_KEYS: Final = (
    "sample_peak_dbfs",
    "speech_level_dbfs",
    "noise_floor_dbfs",
    "snr_db",
    "active_speech_level_dbfs",
    "activity_factor",
    "dc_offset",
)


def _loudness(*values: float) -> dict[str, float]:
    return dict(zip(_LOUDNESS_KEYS, values, strict=True))


def _levels(*values: float) -> dict[str, float]:
    return dict(zip(_LEVEL_KEYS, values, strict=True)) | {"clipped_samples": 0, "clipping_runs": 0}


def _channel(index: int, role: str, *parts: dict[str, float]) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "role": role}
    for part in parts:
        told |= part
    return told


def _denoise(method: str, reason: str) -> dict[str, Any]:
    return {"denoise": {"method": method, "applied": method != "none", "reason": reason}}


# What neither a denoiser nor a gain changes.
_AGENT: Final = {"silence_share": 0.632, "speech_s": 22.1, "dropouts": 0, "dropout_s": 0.0}
_CUSTOMER: Final = {"silence_share": 0.707, "speech_s": 17.6, "dropouts": 2, "dropout_s": 0.06}

_BEFORE: Final = {
    "programme": _loudness(-30.4, 5.0, -9.8, -22.6, -26.9) | {"silence_share": 0.348},
    "channels": [
        _channel(0, "agent", _loudness(-31.2, 4.1, -9.8, -23.4, -27.6), _AGENT)
        | _levels(-10.1, -33.0, -58.4, 25.4, -34.9, 0.47, 0.0012),
        _channel(1, "customer", _loudness(-36.0, 6.3, -14.2, -28.1, -32.0), _CUSTOMER)
        | _levels(-14.4, -37.5, -51.7, 14.2, -39.8, 0.44, -0.0003),
    ],
}
_AFTER: Final = {
    "programme": _loudness(-15.2, 4.8, -1.5, -8.7, -12.1) | {"silence_share": 0.348},
    "channels": [
        _channel(0, "agent", _loudness(-16.0, 4.1, -1.5, -8.9, -12.6), _AGENT)
        | _levels(-1.6, -17.8, -43.2, 25.4, -19.7, 0.47, 0.0068)
        | _denoise("none", "snr 25.4 dB"),
        _channel(1, "customer", _loudness(-16.0, 6.0, -1.5, -8.6, -12.2), _CUSTOMER)
        | _levels(-1.7, -17.6, -46.0, 28.4, -19.9, 0.41, -0.003)
        | _denoise("spectral_gate", "snr 14.2 dB"),
    ],
}

CLEANED: Final[dict[str, Any]] = {
    "schema_version": 1,
    "event_id": str(cleaned_event_id(_RESULT)),
    **_WHO,
    "result_id": str(_RESULT),
    "cleaned_at": "2026-11-20T10:06:12.250000Z",
    "original": _ORIGINAL,
    "chain": _CHAIN,
    "channels": [{"index": 0, "role": "agent"}, {"index": 1, "role": "customer"}],
    "renditions": [
        {
            "name": "listen",
            "url": f"s3://clearcall/acme/c-42/r-1/{_DIGEST}/listen.flac",
            "media_type": "audio/flac",
            "sha256": hashlib.sha256(b"an example rendition").hexdigest(),
            "bytes": 512_345,
            "sample_rate_hz": 8000,
            "channels": 2,
            "frames": 480_000,
            "duration_s": 60.0,
            "after": _AFTER,
        }
    ],
    "statistics": {
        "before": _BEFORE,
        "warnings": [
            {"code": "truncated", "channel": None, "message": "the file ends 0.2 s before its header says"}
        ],
    },
    "metadata": _METADATA,
}

FAILED: Final[dict[str, Any]] = {
    "schema_version": 1,
    "event_id": str(failed_event_id(_RESULT, 0)),
    **_WHO,
    "result_id": str(_RESULT),
    "failed_at": "2026-11-20T10:06:12.250000Z",
    "original": {"url": "s3://recordings/acme/c-42.wav", "sha256": None, "bytes": None},
    "chain": _CHAIN,
    "error": {
        "code": "source_not_found",
        "message": "s3://recordings/acme/c-42.wav is not there",
        "retriable": False,
        "attempts": 1,
    },
    "metadata": _METADATA,
}

_REFUSED: Final = b'{"call_id": "../c-42", "recording": {"url": "s3://recordings/acme/c-42.wav"}}'
_REFUSED_SHA256: Final = hashlib.sha256(_REFUSED).hexdigest()
_REFUSED_AT_MS: Final = 1_795_255_200_000

REJECTED: Final[dict[str, Any]] = {
    "schema_version": 1,
    "event_id": str(rejected_id("call.recorded", 3, 1207, _REFUSED_AT_MS, _REFUSED_SHA256)),
    "rejected_at": "2026-11-21T10:00:00.020000Z",
    "error": {
        "code": "invalid_field",
        "message": "call_id must be 1 to 128 letters, digits or . _ : @ - that begin with a letter or digit, "
        'got "../c-42"',
        "field": "call_id",
    },
    "tenant_id": None,
    "call_id": None,
    "recording_id": None,
    "topic": "call.recorded",
    "partition": 3,
    "offset": 1207,
    "timestamp": _REFUSED_AT_MS,
    "sha256": _REFUSED_SHA256,
    "headers": [{"name": "content-type", "value": "application/json"}],
    "raw": raw_text(_REFUSED),
}

ERASED: Final[dict[str, Any]] = {
    "schema_version": 1,
    "event_id": str(erased_event_id(_TENANT, _CALL, _RECORDING, datetime(2027, 2, 18, 10, tzinfo=UTC))),
    **_WHO,
    "erased_at": "2027-02-18T10:00:00Z",
    "reason": "retention",
    "result_ids": [str(_RESULT)],
}
