"""What others would do: ffmpeg's filters as its users chain them, each pass a whole command on one thread."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Final

from benchmarks.engine_runs import Finished, Run, finished

FFMPEG: Final = shutil.which("ffmpeg")
"""Debian: ``apt-get install ffmpeg``. Where there is none, these peers are left out."""
_TARGET_LUFS, _CEILING_DBTP = -16.0, -1.5
_LIMITER: Final = f"alimiter=limit={10 ** (_CEILING_DBTP / 20):.6f}:level=disabled"
_LOUDNORM: Final = f"loudnorm=I={_TARGET_LUFS}:TP={_CEILING_DBTP}:LRA=11"
_WAV: Final = ("-c:a", "pcm_s16le")


def afftdn_loudnorm_alimiter(recording: Path, audio_s: float, folder: Path) -> Run:
    """``afftdn``, ``loudnorm`` in two passes, ``alimiter``.

    loudnorm works at 192 kHz; the limiter gets its output back at the call's rate, which is the faster way.
    """
    first = _ffmpeg(recording, f"afftdn,{_LOUDNORM}:print_format=json", "-f", "null", "-")
    found = json.loads(first.output[first.output.rindex("{") : first.output.rindex("}") + 1])
    measured = ":".join(
        f"measured_{name}={found[f'input_{name.lower()}']}" for name in ("I", "TP", "LRA", "thresh")
    )
    loudnorm = f"{_LOUDNORM}:{measured}:offset={found['target_offset']}:linear=true"
    second = _ffmpeg(
        recording, f"afftdn,{loudnorm},aresample=8000,{_LIMITER}", *_WAV, folder / "loudnorm.wav"
    )
    return _together(audio_s, first, second)


def afftdn_ebur128_volume_alimiter(recording: Path, audio_s: float, folder: Path) -> Run:
    """``afftdn,ebur128`` into a file, then ``volume,alimiter`` on that: the strongest that plain ffmpeg has.

    It misses the target by what the limiter takes, and the ceiling between the samples.
    """
    denoised = folder / "afftdn.wav"
    first = _ffmpeg(recording, "afftdn,ebur128=framelog=verbose", *_WAV, denoised)
    lufs = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", first.output)[-1])
    filters = f"volume={_TARGET_LUFS - lufs:.2f}dB,{_LIMITER}"
    second = _ffmpeg(denoised, filters, *_WAV, folder / "alimiter.wav")
    return _together(audio_s, first, second)


def _ffmpeg(recording: Path, filters: str, *output: str | Path) -> Finished:
    quiet = ("-hide_banner", "-nostdin", "-nostats", "-y", "-threads", "1", "-filter_threads", "1")
    return finished([FFMPEG or "ffmpeg", *quiet, "-i", recording, "-af", filters, *output])


def _together(audio_s: float, *passes: Finished) -> Run:
    return Run(
        audio_s,
        sum(each.wall_s for each in passes),
        sum(each.cpu_s for each in passes),
        max(each.peak_mib for each in passes),
    )
