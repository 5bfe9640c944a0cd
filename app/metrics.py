"""The metrics of interfaces: what the work counts, and what the database says when it is scraped."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from agents.ports import Claim
from dsp import CleanReport

_JOB_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_STAGE_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300)
_DECIBEL_BUCKETS = (-10, -5, -2, -1, 0, 1, 2, 5, 10, 15, 20, 30)
_LOUDNESS_ERROR_BUCKETS_LU = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """See ``agents.ports.Observer``. No label here has an unbounded set of values: tenants are not labels."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._processed = Counter("clearcall_jobs_processed", "Calls cleaned", ["chain"], registry=r)
        self._failed = Counter(
            "clearcall_jobs_failed", "Calls given up and events rejected", ["code"], registry=r
        )
        self._duration = Histogram(
            "clearcall_job_duration_seconds", "From claim to result", buckets=_JOB_BUCKETS_S, registry=r
        )
        self._stage = Histogram(
            "clearcall_stage_duration_seconds",
            "One DSP stage of one call",
            ["stage"],
            buckets=_STAGE_BUCKETS_S,
            registry=r,
        )
        self._active = Gauge("clearcall_worker_active", "Calls in work in this worker", registry=r)
        self._depth = Gauge("clearcall_queue_depth", "Results by status", ["status"], registry=r)
        self._oldest = Gauge("clearcall_queue_oldest_seconds", "Age of the oldest queued call", registry=r)
        self._audio = Counter("clearcall_audio_seconds", "Audio cleaned, in seconds of recording", registry=r)
        self._unsent = Gauge("clearcall_outbox_unsent", "Events that wait to be sent", registry=r)
        self._snr = Histogram(
            "clearcall_snr_improvement_db",
            "Gain in SNR of each channel",
            buckets=_DECIBEL_BUCKETS,
            registry=r,
        )
        self._loudness_error = Histogram(
            "clearcall_loudness_error_lu",
            "Distance of the loudness from the target, of each channel that is levelled alone or of the programme",
            buckets=_LOUDNESS_ERROR_BUCKETS_LU,
            registry=r,
        )

    def claimed(self, active: int) -> None:
        """The number of calls in work changed."""
        self._active.set(active)

    def cleaned(self, claim: Claim, report: CleanReport, seconds: float) -> None:
        """A call was cleaned, ``seconds`` after its claim."""
        self._processed.labels(chain=claim.chain.name).inc()
        self._duration.observe(seconds)
        told = report.to_json()
        self._audio.inc(told["input"]["duration_s"])
        for stage, stage_s in told["timing"]["stages_s"].items():
            self._stage.labels(stage=stage).observe(stage_s)
        if not told["renditions"]:
            return
        after = told["renditions"][0]["after"]
        before = {channel["index"]: channel for channel in told["before"]["channels"]}
        for channel in after["channels"]:
            was = before.get(channel["index"], {}).get("snr_db")
            if was is not None and channel["snr_db"] is not None:
                self._snr.observe(channel["snr_db"] - was)
        target = claim.chain.target_lufs
        # What is levelled by one gain is measured as one: a quiet party below the target is no error.
        levelled = [after["programme"]] if claim.chain.channels == "linked" else after["channels"]
        for measured in levelled:
            if target is not None and measured["integrated_lufs"] is not None:
                self._loudness_error.observe(abs(measured["integrated_lufs"] - target))

    def failed(self, code: str) -> None:
        """A call was given up, or an event rejected."""
        self._failed.labels(code=code).inc()

    def queue(self, *, depth: Mapping[str, int], oldest_seconds: float, outbox_unsent: int) -> None:
        """What the database says now."""
        for status, count in depth.items():
            self._depth.labels(status=status).set(count)
        self._oldest.set(oldest_seconds)
        self._unsent.set(outbox_unsent)

    def exposition(self) -> tuple[bytes, str]:
        """Prometheus text and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
