"""RNNoise alone, ours against the library's own loop, in turns on one call: x real time for a channel and a pair.

    python -m benchmarks.rnnoise [--seconds 60] [--rounds 5]

The medians of the rounds; time of this thread on the processor, so that what else runs matters little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from dsp.audio import Samples
from dsp.rnnoise import RnNoise, levels
from dsp.rnnoise_library import LibraryRnNoise
from dsp.streams import Filter

CALL = Path(__file__).parents[1] / "examples" / "hotel.wav"
BLOCK_FRAMES = 4_096


def noisy_call(seconds: int) -> tuple[Samples, int]:
    """Give an example call with noise on both channels, so that no frame is silent, and its rate."""
    call, rate_hz = soundfile.read(CALL, dtype="float32", always_2d=True)
    whole = np.resize(call, (seconds * rate_hz, 2))
    noise = np.random.default_rng(1).normal(0, 0.01, whole.shape)
    return np.asfortranarray(whole + noise, dtype=np.float32), rate_hz


def times_real_time(through: Filter, samples: Samples, rate_hz: int) -> float:
    """Seconds of audio for each second of processor time."""
    started = time.thread_time()
    for start in range(0, len(samples), BLOCK_FRAMES):
        through.push(samples[start : start + BLOCK_FRAMES])
    through.finish()
    return len(samples) / rate_hz / (time.thread_time() - started)


def main() -> None:
    """Run all in turns, and print a table."""
    parser = argparse.ArgumentParser(description="RNNoise: ours against the library's own loop")
    parser.add_argument("--seconds", type=int, default=60, help="length of the call")
    parser.add_argument("--rounds", type=int, default=5, help="how often each runs; the table has medians")
    told = parser.parse_args()
    samples, rate_hz = noisy_call(told.seconds)
    kinds: dict[str, Callable[[int], Filter]] = {
        level: partial(RnNoise, rate_hz, level=level) for level in levels()
    }
    kinds["library"] = partial(LibraryRnNoise, rate_hz)
    found: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in kinds}
    for _ in range(told.rounds):
        for name, opened in kinds.items():
            for channels, times in found[name].items():
                part = samples[: len(samples) // (8 if name in {"library", "plain"} else 1), :channels]
                times.append(times_real_time(opened(channels), part, rate_hz))
    print("| 8 kHz | one channel, x real time | a pair | microseconds for 10 ms of a pair |")
    print("| --- | --- | --- | --- |")
    for name, times_of in found.items():
        one, pair = (statistics.median(times) for times in times_of.values())
        print(f"| {name} | {one:.0f} | {pair:.0f} | {10_000 / pair:.0f} |")


if __name__ == "__main__":
    main()
