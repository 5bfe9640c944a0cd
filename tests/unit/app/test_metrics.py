"""The metrics of the contract: their names, what they count, and no label without an end."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics
from dsp import CleanReport
from tests.support.work import claim, clean_report, recorded

PROMISED = {
    "clearcall_jobs_processed_total", "clearcall_jobs_failed_total", "clearcall_job_duration_seconds",
    "clearcall_stage_duration_seconds", "clearcall_worker_active", "clearcall_queue_depth",
    "clearcall_queue_oldest_seconds", "clearcall_audio_seconds_total", "clearcall_outbox_unsent",
    "clearcall_snr_improvement_db", "clearcall_loudness_error_lu",
}  # fmt: skip


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name, with its labels as they are written."""
    text, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def filled() -> Metrics:
    metrics = Metrics()
    held = claim(recorded(channels=[{"role": "agent"}, {"role": "customer"}]))
    metrics.claimed(2)
    metrics.cleaned(held, clean_report(held), 0.7)
    metrics.failed("too_large")
    metrics.failed("too_large")
    metrics.queue(depth={"queued": 3, "processing": 1}, oldest_seconds=12.5, outbox_unsent=4)
    return metrics


def test_every_promised_metric_is_there() -> None:
    text = filled().exposition()[0].decode()

    named = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    assert not PROMISED - named


def test_what_happened_is_counted() -> None:
    found = samples(filled())

    assert found["clearcall_worker_active"] == 2
    assert found['clearcall_jobs_processed_total{chain="telephony"}'] == 1
    assert found['clearcall_jobs_failed_total{code="too_large"}'] == 2
    assert found["clearcall_job_duration_seconds_sum"] == 0.7
    assert found["clearcall_audio_seconds_total"] == 60.0
    assert found['clearcall_stage_duration_seconds_count{stage="decode"}'] == 1
    assert found['clearcall_queue_depth{status="queued"}'] == 3
    assert found["clearcall_queue_oldest_seconds"] == 12.5
    assert found["clearcall_outbox_unsent"] == 4


def test_long_jobs_have_a_bucket() -> None:
    found = samples(filled())

    assert 'clearcall_job_duration_seconds_bucket{le="3600.0"}' in found


def test_a_channel_that_is_levelled_alone_is_measured_against_the_target_alone() -> None:
    found = samples(filled())

    assert found["clearcall_loudness_error_lu_count"] == 2
    assert found["clearcall_loudness_error_lu_sum"] == 0.0
    assert found["clearcall_snr_improvement_db_count"] == 2


def test_channels_that_are_levelled_as_one_are_measured_as_one() -> None:
    """One gain for all: a quiet party stays below the target, and that is no error."""
    held = claim(recorded())
    assert held.chain.channels == "linked"
    told = clean_report(held).to_json()
    told["renditions"][0]["after"]["channels"][1]["integrated_lufs"] = -30.0
    told["renditions"][0]["after"]["programme"]["integrated_lufs"] = -16.25
    metrics = Metrics()

    metrics.cleaned(held, CleanReport.from_json(told), 0.7)

    found = samples(metrics)
    assert found["clearcall_loudness_error_lu_count"] == 1
    assert found["clearcall_loudness_error_lu_sum"] == 0.25


def test_what_could_not_be_measured_is_not_counted() -> None:
    held = claim(recorded(channels=[{"role": "agent"}, {"role": "customer"}]))
    told = clean_report(held).to_json()
    for channel in told["renditions"][0]["after"]["channels"]:
        channel |= {"integrated_lufs": None, "snr_db": None}
    metrics = Metrics()

    metrics.cleaned(held, CleanReport.from_json(told), 0.7)

    assert samples(metrics)["clearcall_snr_improvement_db_count"] == 0
    assert samples(metrics)["clearcall_loudness_error_lu_count"] == 0


def test_no_label_tells_tenants_or_calls() -> None:
    metrics = Metrics()
    before = len(samples(metrics))
    for number in range(50):
        held = claim(recorded(f"c-{number}", tenant_id=f"t-{number}"))
        metrics.cleaned(held, clean_report(held), 0.7)
    once = Metrics()
    once.cleaned(claim(), clean_report(claim()), 0.7)

    assert len(samples(metrics)) == len(samples(once)) > before


def test_two_workers_in_one_process_do_not_share_counts() -> None:
    filled()

    assert 'clearcall_jobs_failed_total{code="too_large"}' not in samples(Metrics())
