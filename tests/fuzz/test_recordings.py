"""2,000 damaged recordings of every format: each ends as samples or as an error with a code, and soon."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.child import damaged_file
from tests.support.audio_files import every_format

SEED: Final = int(os.environ.get("CLEARCALL_FUZZ_SEED", "20261125"))
FILES: Final = int(os.environ.get("CLEARCALL_FUZZ_FILES", "2000"))
PROCESSES: Final = 2
MOST_MEMORY_KB: Final = 400 << 10
ROOT: Final = Path(__file__).parents[2]
CODES: Final = {
    "samples",
    "empty_file",
    "no_audio",
    "undecodable",
    "unsupported_container",
    "unsupported_codec",
    "unsupported_sample_rate",
    "unsupported_channels",
    "too_long",
}


def _outcomes(first: int, stop: int) -> dict[int, str]:
    """Read damaged recordings in a child; where it dies, that is a file's outcome, and the next child goes on."""
    outcomes: dict[int, str] = {}
    while first < stop:
        ran = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "tests.fuzz.child", str(SEED), str(first), str(stop)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        for line in ran.stdout.splitlines():
            number, _, outcome = line.partition(" ")
            if number == "peak":
                outcomes[-stop] = outcome if int(outcome) > MOST_MEMORY_KB else "samples"
            else:
                outcomes[int(number)] = outcome
        reached = max((number for number in outcomes if number >= 0), default=first)
        if ran.returncode == 0:
            return outcomes
        last_words = ran.stderr.strip().splitlines()[-1:] or [""]
        outcomes[reached] = f"the process died ({ran.returncode}): {last_words[0]}"
        first = reached + 1
    return outcomes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_damaged_recording_ends_as_samples_or_a_code() -> None:
    """No crash, no hang of ten seconds, no memory over the cap; the seed says which file it was."""
    print(f"CLEARCALL_FUZZ_SEED={SEED} CLEARCALL_FUZZ_FILES={FILES}")
    share = -(-FILES // PROCESSES)
    with ThreadPoolExecutor(PROCESSES) as pool:
        runs = pool.map(
            _outcomes, range(0, FILES, share), [min(s + share, FILES) for s in range(0, FILES, share)]
        )
        outcomes = {number: outcome for run in runs for number, outcome in run.items()}
    files = every_format(seconds=1.0)
    wrong = {
        f"file {number} ({damaged_file(SEED, number, files)[0].name}: {damaged_file(SEED, number, files)[2]})"
        if number >= 0
        else f"memory of the process that read up to file {-number}": outcome
        for number, outcome in sorted(outcomes.items())
        if outcome not in CODES
    }
    counted = Counter(outcome for number, outcome in outcomes.items() if number >= 0)
    print(dict(counted))
    assert wrong == {}
    assert counted.total() == FILES
    # That most are refused would say nothing of the decoders.
    assert counted["samples"] > FILES / 3
    decoded = {
        files[n % len(files)].name for n, outcome in outcomes.items() if n >= 0 and outcome == "samples"
    }
    assert len(decoded) == len(files) or 20 * len(files) > FILES
