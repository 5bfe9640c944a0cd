"""Measures the DSP engine beside its peers: the same recordings, in turns, on one core.

``python -m benchmarks.engine`` prints the tables of benchmarks/README.md (half an hour, 8 GB on disk); ``--smoke`` does
all of it on seconds of audio, to see that it still runs. Every piece of work is a process of its own; ours and the
Python peer are warm when their clock starts, ffmpeg's commands are measured whole. x real time is seconds of audio a
second; "by CPU" divides by the process's CPU time, which a crowded machine distorts less.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Final

from benchmarks import peers
from benchmarks.engine_runs import Contender, Run, finished, in_turns, median, progress, times_faster, work

CLEAN: Final = "clean"
NOISY: Final = "noisy"
_BY_WALL, _BY_CPU = attrgetter("by_wall"), attrgetter("by_cpu")


@dataclass(frozen=True)
class Plan:
    """How much is measured; times in seconds of audio."""

    call_s: float
    rounds: int
    warm_up_s: float
    cold_s: float
    cold_rounds: int
    memory_s: Sequence[float]
    rnnoise_s: float


FULL = Plan(3_600, 3, 30, 600, 5, (60, 3_600, 43_200), 120)
SMOKE = Plan(10, 1, 2, 10, 1, (2, 10), 2)


@dataclass(frozen=True)
class Ours:
    """One of our chains on one of the recordings, and what it should reach."""

    title: str
    method: str
    recording: str
    must: int
    stretch: int


OURS: Final = (
    Ours("`omlsa` chain", "omlsa", NOISY, 700, 1_200),
    Ours("`omlsa` chain", "omlsa", CLEAN, 700, 1_200),
    Ours("default chain, which denoises neither channel", "auto", CLEAN, 700, 1_200),
    Ours("default chain, RNNoise on both channels", "auto", NOISY, 80, 150),
)


@dataclass(frozen=True)
class Peer:
    """Another way to clean a recording, and how many times faster our ``omlsa`` chain should be."""

    title: str
    must: float
    stretch: float


NOISEREDUCE: Final = Peer("noisereduce (stationary), pyloudnorm, clipped", 3.6, 6)
FFMPEG: Final = {
    Peer("ffmpeg `afftdn,ebur128`, then `volume,alimiter`", 1.4, 2.5): peers.afftdn_ebur128_volume_alimiter,
    Peer("ffmpeg `afftdn`, `loudnorm` in two passes, `alimiter`", 35, 60): peers.afftdn_loudnorm_alimiter,
}


class Bench:
    """Makes the recordings, and measures with them."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._out = folder / "out"
        self._out.mkdir()
        self._warm_up_on = self._recording(NOISY, plan.warm_up_s)

    def speed(self) -> dict[str, list[Run]]:
        """Run our chains and the peers in turns."""
        audio_s = self._plan.call_s
        calls = {kind: self._recording(kind, audio_s) for kind in (CLEAN, NOISY)}
        contenders: dict[str, Contender] = {
            _name(ours): partial(self._clean, ours.method, calls[ours.recording], audio_s) for ours in OURS
        }
        contenders[NOISEREDUCE.title] = partial(
            work, "noisereduce", audio_s, calls[NOISY], self._warm_up_on, self._out
        )
        if peers.FFMPEG:
            for peer, command in FFMPEG.items():
                contenders[peer.title] = partial(command, calls[NOISY], audio_s, self._out)
        return in_turns(contenders, self._plan.rounds)

    def rnnoise(self) -> dict[str, list[Run]]:
        """Run our RNNoise and the library's loop in turns."""
        call = self._recording(NOISY, self._plan.rnnoise_s)
        contenders: dict[str, Contender] = {
            which: partial(work, "rnnoise", self._plan.rnnoise_s, which, call) for which in ("own", "library")
        }
        return in_turns(contenders, self._plan.rounds)

    def memory(self) -> dict[float, dict[str, Run]]:
        """Clean recordings of several lengths, by length and kind."""
        runs: dict[float, dict[str, Run]] = {}
        for audio_s in self._plan.memory_s:
            for kind in (CLEAN, NOISY):
                call = self._recording(kind, audio_s)
                runs.setdefault(audio_s, {})[kind] = self._clean("auto", call, audio_s)
                progress(f"memory, {_length(audio_s)}, {kind}: {runs[audio_s][kind].peak_mib:.0f} MiB")
        return runs

    def cold(self) -> dict[str, list[Run]]:
        """Run the command as a user does; once before, so that Python's caches are there."""
        audio_s = self._plan.cold_s
        calls = {kind: self._recording(kind, audio_s) for kind in (CLEAN, NOISY)}
        contenders: dict[str, Contender] = {
            kind: partial(self._command, call, audio_s) for kind, call in calls.items()
        }
        in_turns(contenders, 1)
        return in_turns(contenders, self._plan.cold_rounds)

    def _recording(self, kind: str, audio_s: float) -> Path:
        path = self._folder / f"{kind}-{audio_s:.0f}.wav"
        if not path.exists():
            noise = ["--noise"] if kind == NOISY else []
            finished([sys.executable, "-m", "benchmarks.engine_recordings", path, str(audio_s), *noise])
        return path

    def _clean(self, method: str, call: Path, audio_s: float) -> Run:
        return work("clean", audio_s, method, call, self._warm_up_on, self._out)

    def _command(self, call: Path, audio_s: float) -> Run:
        clearcall = Path(sys.executable).with_name("clearcall")
        ended = finished([clearcall, "clean", call, "-o", self._out / f"{call.stem}.flac"])
        return Run(audio_s, ended.wall_s, ended.cpu_s, ended.peak_mib)


def _name(ours: Ours) -> str:
    return f"{ours.title}, {ours.recording}"


def _length(audio_s: float) -> str:
    for unit_s, unit in ((3_600, "h"), (60, "min")):
        if audio_s > unit_s and audio_s % unit_s == 0:
            return f"{audio_s / unit_s:.0f} {unit}"
    return f"{audio_s:.0f} s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


def speed_tables(runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Our chains, the peers, and where our time goes."""
    rows = []
    for ours in OURS:
        own = runs[_name(ours)]
        figures = f"{median(own, _BY_WALL):.0f}", f"{median(own, _BY_CPU):.0f}", f"{own[-1].peak_mib:.0f} MiB"
        rows.append([ours.title, ours.recording, *figures, f"{ours.must} / {ours.stretch:,}"])
    yield from _table(["chain", "recording", "x real time", "by CPU", "peak memory", "must / stretch"], rows)

    omlsa = runs[_name(OURS[0])]
    rows = []
    for peer in (NOISEREDUCE, *FFMPEG):
        if peer.title not in runs:
            progress(f"left out, since ffmpeg is not installed: {peer.title}")
            continue
        theirs = runs[peer.title]
        figures = (
            f"{median(theirs, _BY_WALL):.0f}",
            f"{median(theirs, _BY_CPU):.0f}",
            f"{theirs[-1].peak_mib:.0f} MiB",
        )
        ratios = (f"{times_faster(omlsa, theirs, of):.2f}" for of in (_BY_WALL, _BY_CPU))
        rows.append([peer.title, *figures, *ratios, f"{peer.must:g} / {peer.stretch:g}"])
    head = ["peer, on the noisy recording", "x real time", "by CPU", "peak memory"]
    yield from _table([*head, "`omlsa` chain is faster by", "by CPU", "must / stretch"], rows)

    stages = list(dict.fromkeys(stage for ours in OURS for stage in runs[_name(ours)][-1].told["stages_s"]))
    rows = []
    for ours in OURS:
        run = runs[_name(ours)][-1]
        samples = run.audio_s * 8_000 * 2
        spent = (run.told["stages_s"].get(stage, 0.0) * 1e9 / samples for stage in stages)
        rows.append(
            [
                ours.title,
                ours.recording,
                *(f"{each:.1f}" for each in spent),
                f"{run.wall_s * 1e9 / samples:.1f}",
            ]
        )
    yield from _table(["ns a sample", "recording", *stages, "in all"], rows)


def rnnoise_table(runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Our RNNoise against the library's loop, a channel each."""
    own, library = runs["own"], runs["library"]
    figures = (f"{2 * median(each, _BY_WALL):.0f}" for each in (own, library))
    yield from _table(
        ["RNNoise alone, x real time a channel: ours", "the library's loop", "ours is faster by"],
        [[*figures, f"{times_faster(own, library, _BY_WALL):.1f}"]],
    )


def memory_table(runs: Mapping[float, Mapping[str, Run]]) -> Iterator[str]:
    """Peak memory by length."""
    rows = [
        [f"default chain, {kind}", *(f"{of_length[kind].peak_mib:.0f} MiB" for of_length in runs.values())]
        for kind in (CLEAN, NOISY)
    ]
    yield from _table(["peak memory (must 225 MB, stretch 140 MB)", *map(_length, runs)], rows)


def cold_table(runs: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """The whole command."""
    rows = [
        [
            kind,
            f"{statistics.median(run.wall_s for run in of_kind):.2f} s",
            f"{statistics.median(run.cpu_s for run in of_kind):.2f} s",
        ]
        for kind, of_kind in runs.items()
    ]
    audio_s = next(iter(runs.values()))[0].audio_s
    head = f"cold `clearcall clean` of one call of {_length(audio_s)} (must 1.5 s, stretch 0.7 s)"
    yield from _table([head, "wall", "CPU"], rows)


def _conditions(plan: Plan) -> Iterator[str]:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    yield (
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, Python {platform.python_version()}, {_ffmpeg()}; medians of "
        f"{plan.rounds} rounds on a call of {_length(plan.call_s)}; load of the machine at the end: {load}."
    )
    yield ""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _ffmpeg() -> str:
    if peers.FFMPEG is None:
        return "no ffmpeg"
    return "ffmpeg " + finished([peers.FFMPEG, "-version"]).output.split()[2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="seconds of audio, to see that it runs")
    parser.add_argument(
        "--folder", type=Path, help="where there is room for 8 GB (default: the temporary folder)"
    )
    parser.add_argument(
        "--minutes", type=int, default=60, help="of the call that all clean in turns (default: 60)"
    )
    told = parser.parse_args()
    plan = SMOKE if told.smoke else replace(FULL, call_s=told.minutes * 60)
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        bench = Bench(plan, Path(folder))
        os.sched_setaffinity(0, {max(cores)})  # What is started from here on has this core alone.
        tables = [
            *speed_tables(bench.speed()),
            *rnnoise_table(bench.rnnoise()),
            *memory_table(bench.memory()),
        ]
        os.sched_setaffinity(0, cores)
        tables += cold_table(bench.cold())
    print("\n".join([*_conditions(plan), *tables]))


if __name__ == "__main__":
    main()
