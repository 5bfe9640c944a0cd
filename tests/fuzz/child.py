"""Reads damaged recordings in a process of its own, which may die of it: `python -m tests.fuzz.child SEED FIRST STOP`.

Prints a line when it begins with a file and one when it is done, so that whoever started it knows which one it was.
"""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

import av
import numpy as np
import soundfile

from dsp import Limits, RecordingError, Source
from dsp.decode import opened
from tests.fuzz.mutations import mutated
from tests.support.audio_files import AudioFile, every_format

MOST_SECONDS: Final = 10
MOST_MORE_MEMORY: Final = 512 << 20
LIMITS: Final = Limits(max_duration_s=300.0, max_samples=50_000_000)
_LOUDEST: Final = 16.0


def damaged_file(seed: int, number: int, files: list[AudioFile]) -> tuple[AudioFile, bytes, str]:
    """Make one damaged recording: from which file, its content, and what was done to it."""
    random = np.random.default_rng([seed, number])
    file = files[number % len(files)]
    content, done = mutated(random, file.content, [other.content for other in files])
    return file, content, done


def look(source: Source) -> str:
    """Read a recording to its end: `samples`, or the code of what is wrong with it."""
    try:
        with opened(source, limits=LIMITS) as recording:
            frames = 0
            for block in recording.blocks():
                if block.dtype != np.float32 or block.shape[1] != recording.channels:
                    return "wrong: shape"
                if not (np.abs(block) <= _LOUDEST).all():
                    return "wrong: not finite"
                frames += len(block)
            if recording.info.frames != frames or not frames:
                return "wrong: frames"
            recording.info.to_json()
            _ = recording.warnings
            return "samples"
    except RecordingError as error:
        return error.code


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(seed: int, first: int, stop: int) -> None:
    """Read the damaged recordings from ``first`` on."""
    files = every_format(seconds=1.0)
    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MOST_MORE_MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="clearcall-fuzz-") as folder:
        path = Path(folder) / "call.wav"
        for number in range(first, stop):
            file, content, _ = damaged_file(seed, number, files)
            path.write_bytes(content)
            _tell(f"{number} begins")
            # Ends the process, wherever it is: a handler of Python's would wait for a decoder that hangs.
            signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
            try:
                outcome = look(Source(path, encoding=file.encoding))
            except Exception as error:  # noqa: BLE001  (that is what is looked for)
                outcome = f"wrong: {type(error).__name__}: {' '.join(str(error).split())}"
            signal.setitimer(signal.ITIMER_REAL, 0)
            _tell(f"{number} {outcome}")
    # Not ru_maxrss: that counts the process, too, that this one was started from.
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    _tell(f"peak {peak.split()[1]}")


if __name__ == "__main__":
    assert av.__version__, soundfile.__libsndfile_version__  # loaded before the memory is limited
    main(*map(int, sys.argv[1:]))
