"""The work that benchmarks.engine measures, each piece in a process of its own that is warm when the clock starts.

The last line of the output is JSON: ``wall_s``, ``cpu_s``, and what else there is to tell. What a piece needs is
imported by it alone: its memory is that of its process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dsp.chain import ResolvedChain
    from dsp.streams import Filter

TARGET_LUFS: Final = -16.0
CEILING_DBTP: Final = -1.5
_BLOCK_FRAMES: Final = 1 << 15


def clean(method: str, recording: str, warm_up_on: str, folder: str) -> dict[str, Any]:
    """Clean with our chain and one method of denoising."""
    import dsp  # noqa: PLC0415  (this piece's own)

    chain = _chain(method)
    dsp.clean(dsp.Source(path=Path(warm_up_on)), chain, Path(folder))
    took = _Took()
    report = dsp.clean(dsp.Source(path=Path(recording)), chain, Path(folder))
    measured = took.so_far()
    (rendition,) = report.renditions
    if rendition.frames != report.input.frames:
        raise RuntimeError(f"{report.input.frames} frames came in, {rendition.frames} went out")
    return {
        **measured,
        "denoise": [channel.denoise.method for channel in rendition.after.channels],
        "lufs": [channel.integrated_lufs for channel in rendition.after.channels],
        "stages_s": report.timing.stages_s,
    }


def _chain(method: str) -> ResolvedChain:
    from dsp.chain import ResolvedChain, ResolvedRendition  # noqa: PLC0415  (not the peers')

    stages = [
        {"denoise": {"method": method}},
        {"normalize": {"target_lufs": TARGET_LUFS}},
        {"limit": {"ceiling_dbtp": CEILING_DBTP}},
    ]
    rendition = ResolvedRendition.model_validate({"name": "listen", "format": "wav", "stages": stages})
    return ResolvedChain(name="benchmark", channels="independent", renditions=(rendition,))


def noisereduce(recording: str, warm_up_on: str, folder: str) -> dict[str, Any]:
    """Stationary noisereduce a channel at a time, pyloudnorm's loudness to the target, clipped at the ceiling."""
    import noisereduce as nr  # noqa: PLC0415  (this piece's own)
    import numpy as np  # noqa: PLC0415
    import pyloudnorm  # noqa: PLC0415
    import soundfile  # noqa: PLC0415

    def cleaned(path: str) -> None:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        for channel in range(samples.shape[1]):
            samples[:, channel] = nr.reduce_noise(samples[:, channel], sr=rate_hz, stationary=True)
        lufs = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
        samples *= np.float32(10 ** ((TARGET_LUFS - lufs) / 20))
        ceiling = 10 ** (CEILING_DBTP / 20)
        np.clip(samples, -ceiling, ceiling, out=samples)
        soundfile.write(Path(folder) / "noisereduce.wav", samples, rate_hz, "PCM_16")

    cleaned(warm_up_on)
    took = _Took()
    cleaned(recording)
    return took.so_far()


def rnnoise(which: str, recording: str) -> dict[str, Any]:
    """RNNoise alone on samples in memory: ``own`` kernels, or the loop of the ``library`` in the wheel."""
    import soundfile  # noqa: PLC0415  (this piece's own)

    from dsp.rnnoise import RnNoise  # noqa: PLC0415
    from dsp.rnnoise_library import LibraryRnNoise  # noqa: PLC0415

    samples, rate_hz = soundfile.read(recording, dtype="float32", always_2d=True)
    kind: Callable[[int, int], Filter] = RnNoise if which == "own" else LibraryRnNoise
    kind(rate_hz, 2).push(samples[:rate_hz])
    through = kind(rate_hz, 2)
    took = _Took()
    for start in range(0, len(samples), _BLOCK_FRAMES):
        through.push(samples[start : start + _BLOCK_FRAMES])
    through.finish()
    return took.so_far()


class _Took:
    """A clock that runs from when it is made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def so_far(self) -> dict[str, Any]:
        cpu_s = time.process_time() - self._cpu_s
        return {"wall_s": time.perf_counter() - self._wall_s, "cpu_s": cpu_s}


PIECES: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    piece.__name__: piece for piece in (clean, noisereduce, rnnoise)
}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(json.dumps(PIECES[name](*arguments)))
