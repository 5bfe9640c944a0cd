"""The judge of a ``call.cleaned`` is silent on a true one and tells of every lie in one."""

import copy
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
import soundfile
from scipy.signal import resample_poly

from schemas.examples import CLEANED
from tests.acceptance.outputs import MEASURED_AT_HZ, judge_cleaned, measure_channel, measure_programme
from tests.support.observation import SentEvent
from tests.support.recordings import SAMPLE_RATE_HZ, TelephoneCall

CALL = TelephoneCall(call_id="c-42", seed=7, frames=20_000)
WAV = CALL.wav()
URL = "s3://out/listen.wav"
HEADERS = {
    "ce_specversion": "1.0",
    "ce_type": "call.cleaned",
    "ce_source": "/clearcall/test",
    "ce_subject": "acme/c-42/r-1",
    "ce_time": "2026-11-20T10:06:12Z",
    "content-type": "application/json",
}

Json = dict[str, Any]


def true_body() -> Json:
    """Of a chain that does nothing: the rendition is the recording."""
    body = copy.deepcopy(CLEANED)
    identity = {"sha256": hashlib.sha256(WAV).hexdigest(), "bytes": len(WAV)}
    body["original"] |= identity
    body["renditions"][0] |= {
        "url": URL,
        **identity,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "channels": 2,
        "frames": CALL.frames,
        "duration_s": CALL.frames / SAMPLE_RATE_HZ,
    }
    samples, _ = soundfile.read(io.BytesIO(WAV), dtype="float64")
    sound = resample_poly(samples, MEASURED_AT_HZ // SAMPLE_RATE_HZ, 1, axis=0)
    by_channel = [measure_channel(sound[:, index]) for index in range(2)]
    for told in measurements_of(body):
        for channel, (lufs, dbtp) in zip(told["channels"], by_channel, strict=True):
            channel |= {"integrated_lufs": lufs, "true_peak_dbtp": dbtp}
        told["programme"] |= {
            "integrated_lufs": measure_programme(sound),
            "true_peak_dbtp": max(dbtp for _, dbtp in by_channel),
        }
    return body


def measurements_of(body: Json) -> tuple[Json, Json]:
    """Before and after."""
    return body["statistics"]["before"], body["renditions"][0]["after"]


def judge(body: Json, *, stored: bytes = WAV, without_header: str = "") -> list[str]:
    """What is found wrong."""
    headers = {name: value for name, value in HEADERS.items() if name != without_header}
    event = SentEvent(topic="call.cleaned", key="acme/c-42", headers=headers, body=body)
    return judge_cleaned(CALL, event, {URL: stored}.__getitem__)


def put(*path: str | int, value: Any) -> Callable[[Json], None]:
    """Set a value somewhere in the body."""

    def damage(body: Any) -> None:
        *parents, last = path
        for key in parents:
            body = body[key]
        body[last] = value

    return damage


def add(*path: str | int, amount: float) -> Callable[[Json], None]:
    """Add to a number somewhere in the body."""

    def damage(body: Any) -> None:
        *parents, last = path
        for key in parents:
            body = body[key]
        body[last] += amount

    return damage


BEFORE = ("statistics", "before")
AFTER = ("renditions", 0, "after")


def test_a_true_event_is_believed() -> None:
    """Nothing to find, also with statistics that are a little off."""
    body = true_body()
    assert judge(body) == []
    add(*AFTER, "programme", "integrated_lufs", amount=0.25)(body)
    add(*AFTER, "channels", 1, "true_peak_dbtp", amount=-0.25)(body)
    assert judge(body) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (put("original", "sha256", value="0" * 64), "the original is not the recording"),
        (put("original", "bytes", value=1), "the original is not the recording"),
        (put("renditions", 0, "sha256", value="0" * 64), "has other bytes"),
        (put("renditions", 0, "bytes", value=1), "has other bytes"),
        (put("renditions", 0, "frames", value=1), "the event says"),
        (put("renditions", 0, "channels", value=1), "the event says"),
        (put("renditions", 0, "sample_rate_hz", value=16_000), "the event says"),
        (put("renditions", 0, "duration_s", value=1.0), "the event says"),
        (add(*BEFORE, "programme", "integrated_lufs", amount=0.4), "before: the programme is told"),
        (add(*BEFORE, "channels", 0, "integrated_lufs", amount=-0.4), "before: channel 0 is told"),
        (add(*AFTER, "programme", "integrated_lufs", amount=-0.4), "listen: the programme is told"),
        (add(*AFTER, "programme", "true_peak_dbtp", amount=0.4), "listen: the programme is told"),
        (add(*AFTER, "channels", 0, "true_peak_dbtp", amount=0.4), "listen: channel 0 is told"),
        (add(*AFTER, "channels", 1, "integrated_lufs", amount=0.4), "listen: channel 1 is told"),
        (put(*AFTER, "channels", 1, "integrated_lufs", value=None), "listen: channel 1 is told"),
        (lambda body: measurements_of(body)[1]["channels"].pop(), "the statistics are of 1 channels"),
        (lambda body: body.pop("result_id"), "the schema refuses $"),
        (put("schema_version", value=2), "the schema refuses $.schema_version"),
    ],
)
def test_every_lie_in_the_body_is_told(damage: Callable[[Json], None], finding: str) -> None:
    body = true_body()
    damage(body)
    (found,) = judge(body)
    assert found.startswith("c-42: ")
    assert finding in found


@pytest.mark.parametrize("name", HEADERS)
def test_every_missing_header_is_told(name: str) -> None:
    (found,) = judge(true_body(), without_header=name)
    assert f"the header {name} is" in found


def test_an_object_that_is_another_is_told() -> None:
    """Its bytes, its shape and its sound are not those of the event."""
    longer = TelephoneCall(call_id="c-42", seed=8, frames=30_000)
    findings = judge(true_body(), stored=longer.wav())
    for finding in ("has other bytes", "the event says", "is not the input's", "channel 0 is told"):
        assert any(finding in found for found in findings), finding
