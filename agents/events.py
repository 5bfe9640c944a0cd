"""From what happened to the events that tell of it. Pure: the same result always gives the same event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import dsp
import schemas
from agents.errors import CallError
from agents.ports import Claim, Rejection, StoredRendition
from schemas import CallRecorded, OutgoingEvent


def source_of(event: CallRecorded, path: Path) -> dsp.Source:
    """Describe the fetched file to the DSP as the event describes it."""
    encoding = event.recording.encoding
    return dsp.Source(
        path=path,
        encoding=None
        if encoding is None
        else dsp.Encoding(
            format=encoding.format, sample_rate_hz=encoding.sample_rate_hz, channels=encoding.channels
        ),
        channels=tuple(dsp.ChannelInfo(role=party.role, name=party.name) for party in event.channels),
        pauses=pauses(event),
    )


def pauses(event: CallRecorded) -> tuple[dsp.Pause, ...]:
    """Give the event's pauses as the DSP takes them."""
    return tuple(dsp.Pause(start_s=p.start_s, end_s=p.end_s, reason=p.reason) for p in event.pauses)


def cleaned(
    claim: Claim,
    report: dsp.CleanReport,
    renditions: Sequence[StoredRendition],
    *,
    source: str,
    cleaned_at: datetime,
) -> OutgoingEvent:
    """Tell that a call was cleaned."""
    told = report.to_json()
    event = schemas.CallCleaned(
        event_id=schemas.cleaned_event_id(claim.result_id),
        result_id=claim.result_id,
        **_identity(claim.event),
        cleaned_at=cleaned_at,
        original=schemas.Original(
            url=claim.event.recording.url, sha256=told["input"]["sha256"], bytes=told["input"]["bytes"]
        ),
        chain=_chain(claim),
        channels=tuple(
            schemas.CleanedChannel(index=channel["index"], role=channel["role"])
            for channel in told["before"]["channels"]
        ),
        renditions=tuple(
            schemas.Rendition(
                name=rendition.name,
                url=rendition.object.url,
                media_type=rendition.media_type,
                sha256=rendition.object.sha256,
                bytes=rendition.object.bytes,
                sample_rate_hz=rendition.sample_rate_hz,
                channels=rendition.channels,
                frames=rendition.frames,
                duration_s=rendition.duration_s,
                after=schemas.CleanedMeasurement.model_validate(rendition.after),
            )
            for rendition in renditions
        ),
        statistics=schemas.Statistics.model_validate(
            {"before": told["before"], "warnings": told["warnings"]}
        ),
        metadata=claim.event.metadata,
    )
    return schemas.encode(event, source=source, traceparent=claim.traceparent)


def failed(claim: Claim, error: CallError, *, source: str, failed_at: datetime) -> OutgoingEvent:
    """Tell that a call was given up."""
    recording = claim.event.recording
    event = schemas.CallFailed(
        event_id=schemas.failed_event_id(claim.result_id, claim.retry_round),
        result_id=claim.result_id,
        **_identity(claim.event),
        failed_at=failed_at,
        original=schemas.Original(url=recording.url, sha256=recording.sha256, bytes=recording.bytes),
        chain=_chain(claim),
        error=schemas.Failure(
            code=error.code, message=error.message, retriable=error.retriable, attempts=claim.attempt
        ),
        metadata=claim.event.metadata,
    )
    return schemas.encode(event, source=source, traceparent=claim.traceparent)


def rejected(
    rejection: Rejection, *, source: str, rejected_at: datetime, traceparent: str | None
) -> OutgoingEvent:
    """Tell that an event was not taken."""
    raw = rejection.raw
    event = schemas.CallRejected(
        event_id=rejection.rejected_id,
        rejected_at=rejected_at,
        error=schemas.Refusal(
            code=rejection.error_code, message=rejection.error_message, field=rejection.error_field
        ),
        tenant_id=rejection.tenant_id,
        call_id=rejection.call_id,
        recording_id=rejection.recording_id,
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp=raw.timestamp_ms,
        sha256=rejection.sha256,
        headers=schemas.header_texts(raw.headers),
        raw=schemas.raw_text(raw.value),
    )
    return schemas.encode(event, source=source, traceparent=traceparent)


def _identity(event: CallRecorded) -> dict[str, str]:
    return {
        "tenant_id": event.tenant_id,
        "call_id": event.call_id,
        "recording_id": event.recording_id,
    }


def _chain(claim: Claim) -> schemas.ChainRef:
    return schemas.ChainRef(name=claim.chain.name, digest=claim.chain.digest)
