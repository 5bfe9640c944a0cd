"""Measures the classical denoisers alone: OM-LSA and log-MMSE, and noisereduce's loop beside them.

``python -m benchmarks.classical`` cleans a stereo call at 8 kHz in blocks of 2 s, in a warm process, and prints the
median of some runs as x real time and as CPU time a sample, by the process's own clock: set OPENBLAS_NUM_THREADS=1.
Samples are in memory: no file is read or written.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from dsp.logmmse import LogMmse
from dsp.omlsa import OmLsa

if TYPE_CHECKING:
    from dsp.audio import Samples
    from dsp.streams import Filter

_EXAMPLES = Path(__file__).parent.parent / "examples"
_RATE_HZ = 8_000
_BLOCK = 16_000
_RUNS = 7


def _call(seconds: float) -> Samples:
    """The example calls one after another, shape (frames, 2)."""
    calls = [soundfile.read(path, dtype="float32")[0] for path in sorted(_EXAMPLES.glob("*.wav"))]
    frames = round(seconds * _RATE_HZ)
    some = np.concatenate(calls)
    return np.asfortranarray(np.tile(some, (frames // len(some) + 1, 1))[:frames])


def _streamed(make: Callable[[int, int], Filter], call: Samples) -> None:
    through = make(_RATE_HZ, call.shape[1])
    for start in range(0, len(call), _BLOCK):
        through.push(call[start : start + _BLOCK])
    through.finish()


def _noisereduce(call: Samples) -> None:
    """A channel at a time, as noisereduce shares one noise profile between channels."""
    from noisereduce import reduce_noise  # noqa: PLC0415  (takes a second to import)

    for channel in call.T:
        reduce_noise(y=channel, sr=_RATE_HZ, stationary=True, prop_decrease=0.8, n_jobs=1)


def _print_row(name: str, run: Callable[[], None], call: Samples, runs: int) -> None:
    run()
    taken = []
    for _ in range(runs):
        before = time.process_time()
        run()
        taken.append(time.process_time() - before)
    cpu_s = statistics.median(taken)
    print(f"| {name} | {len(call) / _RATE_HZ / cpu_s:,.0f} | {1e9 * cpu_s / call.size:.1f} ns |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the call")
    parser.add_argument("--runs", type=int, default=_RUNS)
    options = parser.parse_args()
    call = _call(options.seconds)
    print("| denoiser, 8 kHz stereo | x real time | CPU a sample |\n| --- | --- | --- |")
    _print_row("omlsa", lambda: _streamed(OmLsa, call), call, options.runs)
    _print_row("logmmse", lambda: _streamed(LogMmse, call), call, options.runs)
    _print_row("noisereduce, stationary", lambda: _noisereduce(call), call, min(options.runs, 3))


if __name__ == "__main__":
    main()
