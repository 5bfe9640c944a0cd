"""Work in hand: events, results, claims, reports and stored outputs as the pipeline passes them on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from agents.events import cleaned
from agents.ports import Claim, NewResult, ObjectRef, RawEvent, StoredRendition
from dsp import ChainFile, CleanReport, ResolvedChain, load_chain_file
from schemas import CallRecorded, OutgoingEvent, result_id
from tests.support.calls import NOON, Row, after
from tests.support.calls import report as report_json

SOURCE = "/clearcall/tests"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SHA256 = hashlib.sha256(b"a recording").hexdigest()

CHAINS = load_chain_file(
    """
version: 1
default: telephony
chains:
  telephony:
    stages: [{normalize: {target_lufs: -16.0}}, {limit: {ceiling_dbtp: -1.5}}]
    renditions: {listen: {format: flac}, asr: {format: wav}}
  loud:
    stages: [{normalize: {target_lufs: -12.0}}]
""",
    origin="tests/support/work.py",
)


def recorded(call_id: str = "c-1", **fields: Any) -> CallRecorded:
    """Give an event; ``recording`` adds to or replaces what is said of the recording."""
    recording = {"url": f"s3://recordings/acme/{call_id}.wav", **fields.pop("recording", {})}
    return CallRecorded.model_validate(
        {"tenant_id": "acme", "call_id": call_id, "recording": recording, **fields}
    )


def chain_of(event: CallRecorded, chains: ChainFile = CHAINS) -> ResolvedChain:
    """Resolve the event's chain."""
    return chains.resolve(chain=event.chain, tenant=event.tenant_id, named_roles=bool(event.channels))


def new_result(event: CallRecorded | None = None, *, chains: ChainFile = CHAINS) -> NewResult:
    """Give what the intake makes of the event."""
    event = event or recorded()
    chain = chain_of(event, chains)
    return NewResult(
        result_id=result_id(event.tenant_id, event.call_id, event.recording_id, chain.digest),
        event=event,
        chain=chain,
        traceparent=TRACEPARENT,
    )


def claim(event: CallRecorded | None = None, *, lease_token: int = 1, **fields: Any) -> Claim:
    """Give a claim on the event's result."""
    new = new_result(event)
    told: dict[str, Any] = {"attempts": 0, "retry_round": 0, **fields}
    return Claim(
        result_id=new.result_id,
        lease_token=lease_token,
        event=new.event,
        chain=new.chain,
        traceparent=new.traceparent,
        **told,
    )


def raw_event(value: bytes | dict[str, Any] | None, **fields: Any) -> RawEvent:
    """Give a record of ``call.recorded``; a dict is written as JSON."""
    told = RawEvent(
        topic="call.recorded",
        partition=3,
        offset=1207,
        timestamp_ms=1_795_255_200_000,
        headers=(),
        value=json.dumps(value).encode() if isinstance(value, dict) else value,
    )
    return replace(told, **fields)


def clean_report(held: Claim) -> CleanReport:
    """Give what the DSP might say of the claim's recording: two channels, a listen and an asr rendition."""
    row = Row(call_id=held.event.call_id, digest=held.chain.digest, chain_name=held.chain.name)
    renditions = [
        {
            "name": rendition.name,
            "path": f"/scratch/out/{rendition.name}.{rendition.format}",
            "format": rendition.format,
            "sample_rate_hz": 8000,
            "channels": 2,
            "frames": 480_000,
            "sha256": hashlib.sha256(rendition.name.encode()).hexdigest(),
            "bytes": len(rendition.name),
            "after": _denoise_told(after(row, denoised=rendition.name == "listen")),
        }
        for rendition in held.chain.renditions
    ]
    return CleanReport.from_json({**report_json(row), "renditions": renditions})


def _denoise_told(measured: dict[str, Any]) -> dict[str, Any]:
    for channel in measured["channels"]:
        channel["denoise"] = channel["denoise"] or {
            "method": "none",
            "applied": False,
            "reason": "no such stage",
        }
    return measured


@dataclass
class Finished:
    """A claim's end: what ``Claims.finish`` takes."""

    held: Claim
    report: CleanReport = field(init=False)
    renditions: list[StoredRendition] = field(init=False)
    event: OutgoingEvent = field(init=False)

    def __post_init__(self) -> None:
        """Make the parts fit the claim."""
        self.report = clean_report(self.held)
        self.renditions = [
            StoredRendition(
                name=told.name,
                media_type=f"audio/{told.format}",
                object=ObjectRef(
                    url=f"s3://clearcall/{self.held.event.call_id}/{told.name}",
                    sha256=told.sha256,
                    bytes=told.bytes,
                ),
                sample_rate_hz=told.sample_rate_hz,
                channels=told.channels,
                frames=told.frames,
                duration_s=told.frames / told.sample_rate_hz,
                after=told.to_json()["after"],
            )
            for told in self.report.renditions
        ]
        self.event = cleaned(self.held, self.report, self.renditions, source=SOURCE, cleaned_at=NOON)
