"""Whether a ``call.cleaned`` tells the truth of its objects; loudness and true peak are libebur128's.

8 kHz audio is resampled to 48 kHz first: libebur128's true peak looks 4 times between the samples at 48 kHz, and
its filters are the standard's own there.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pyebur128
import soundfile
from jsonschema import Draft202012Validator
from numpy.typing import NDArray
from pyebur128 import MeasurementMode, R128State
from scipy.signal import resample_poly

from schemas import json_schema
from tests.support.observation import SentEvent
from tests.support.recordings import SAMPLE_RATE_HZ, TelephoneCall

LOUDNESS_TOLERANCE_LU = 0.3
TRUE_PEAK_TOLERANCE_DB = 0.3
_AROUND_FRAMES = 100
MEASURED_AT_HZ = 48_000

ReadObject = Callable[[str], bytes]
"""From an object's ``s3://`` address to its bytes."""


def judge_cleaned(call: TelephoneCall, event: SentEvent, read: ReadObject) -> list[str]:
    """Everything in the event that its schema, its call or its objects contradict, a sentence each."""
    findings = [f"{call.call_id}: {finding}" for finding in _judge_form(event)]
    if not findings:
        findings = [f"{call.call_id}: {finding}" for finding in _judge_content(call, event.body, read)]
    return findings


def _judge_form(event: SentEvent) -> Iterator[str]:
    """The CloudEvents headers of binary mode, and the published schema."""
    fixed = {
        "ce_specversion": "1.0",
        "ce_type": "call.cleaned",
        "content-type": "application/json",
    }
    for name, value in fixed.items():
        if event.headers.get(name) != value:
            yield f"the header {name} is {event.headers.get(name)!r}, not {value!r}."
    for name in ("ce_source", "ce_subject", "ce_time"):
        if not event.headers.get(name):
            yield f"the header {name} is missing."
    for error in _published_schema().iter_errors(event.body):
        yield f"the schema refuses {error.json_path}: {error.message}."


@cache
def _published_schema() -> Draft202012Validator:
    return Draft202012Validator(
        json_schema("call.cleaned"), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def _judge_content(call: TelephoneCall, body: Mapping[str, Any], read: ReadObject) -> Iterator[str]:
    wav = call.wav()
    told = body["original"]
    if (told["sha256"], told["bytes"]) != (hashlib.sha256(wav).hexdigest(), len(wav)):
        yield f"the original is not the recording that was sent: {told}."
    # What was sent in is what mu-law made of it.
    sent, _ = soundfile.read(io.BytesIO(wav), dtype="float64", always_2d=True)
    for finding in _judge_measurement(body["statistics"]["before"], sent):
        yield f"before: {finding}"
    for rendition in body["renditions"]:
        for finding in _judge_rendition(call, rendition, read):
            yield f"{rendition['name']}: {finding}"


def _judge_rendition(call: TelephoneCall, rendition: Mapping[str, Any], read: ReadObject) -> Iterator[str]:
    content = read(rendition["url"])
    if (rendition["sha256"], rendition["bytes"]) != (hashlib.sha256(content).hexdigest(), len(content)):
        yield f"the object at {rendition['url']} has other bytes than the event says."
    samples, sample_rate_hz = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    found = {
        "sample_rate_hz": sample_rate_hz,
        "channels": samples.shape[1],
        "frames": samples.shape[0],
        "duration_s": samples.shape[0] / sample_rate_hz,
    }
    said = {name: rendition[name] for name in found}
    if found != said:
        yield f"the event says {said}, the object has {found}."
    if (samples.shape, sample_rate_hz) != ((call.frames, 2), SAMPLE_RATE_HZ):
        yield f"shape {samples.shape} at {sample_rate_hz} Hz is not the input's."
    yield from _judge_measurement(rendition["after"], samples)


def _judge_measurement(told: Mapping[str, Any], samples: NDArray[np.float64]) -> Iterator[str]:
    """Compare statistics with libebur128: the programme, and each channel alone as a mono programme."""
    if [channel["index"] for channel in told["channels"]] != list(range(samples.shape[1])):
        yield f"the statistics are of {len(told['channels'])} channels, the sound has {samples.shape[1]}."
        return
    times = MEASURED_AT_HZ // SAMPLE_RATE_HZ
    sound = resample_poly(samples, times, 1, axis=0)
    # Silence around it: where a file begins loud, resampling rings before the beginning, and what is cut off there
    # is a step to the next meter, which rings in its turn.
    in_silence = resample_poly(np.pad(samples, ((_AROUND_FRAMES,) * 2, (0, 0))), times, 1, axis=0)
    peaks_dbtp = []
    for channel in told["channels"]:
        lufs, _ = measure_channel(sound[:, channel["index"]])
        _, dbtp = measure_channel(in_silence[:, channel["index"]])
        peaks_dbtp.append(dbtp)
        yield from _compare(f"channel {channel['index']}", channel, lufs, dbtp)
    yield from _compare("the programme", told["programme"], measure_programme(sound), max(peaks_dbtp))


def _compare(what: str, told: Mapping[str, Any], lufs: float, dbtp: float) -> Iterator[str]:
    if not _near(told["integrated_lufs"], lufs, LOUDNESS_TOLERANCE_LU):
        yield f"{what} is told as {told['integrated_lufs']} LUFS, libebur128 measures {lufs:.3f}."
    if not _near(told["true_peak_dbtp"], dbtp, TRUE_PEAK_TOLERANCE_DB):
        yield f"{what} is told as {told['true_peak_dbtp']} dBTP, libebur128 measures {dbtp:.3f}."


def measure_channel(sound: NDArray[np.float64]) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dBTP of 48 kHz sound, shape (frames,)."""
    state = R128State(1, MEASURED_AT_HZ, MeasurementMode.MODE_I | MeasurementMode.MODE_TRUE_PEAK)
    state.add_frames(np.ascontiguousarray(sound), sound.size)
    return pyebur128.get_loudness_global(state), 20 * math.log10(pyebur128.get_true_peak(state, 0))


def measure_programme(sound: NDArray[np.float64]) -> float:
    """Integrated loudness in LUFS of 48 kHz sound, shape (frames, channels)."""
    state = R128State(sound.shape[1], MEASURED_AT_HZ, MeasurementMode.MODE_I)
    state.add_frames(np.ascontiguousarray(sound).reshape(-1), sound.shape[0])
    loudness_lufs: float = pyebur128.get_loudness_global(state)
    return loudness_lufs


def _near(told: float | None, measured: float, tolerance: float) -> bool:
    return told is not None and abs(told - measured) <= tolerance
