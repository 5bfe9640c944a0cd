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


def _outcomes(first: int, stop: int) -> tuple[dict[int, str], int]:
    """Read damaged recordings in a child; where it dies, that is the file's outcome, and another child goes on.

    Also gives the most memory that a child had, in kB.
    """
    outcomes: dict[int, str] = {}
    peak_kb = 0
    while first < stop:
        ran = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "tests.fuzz.child", str(SEED), str(first), str(stop)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        lines = [line.partition(" ")[::2] for line in ran.stdout.splitlines()]
        outcomes |= {int(number): outcome for number, outcome in lines if number != "peak"}
        peak_kb = max([peak_kb, *(int(outcome) for number, outcome in lines if number == "peak")])
        assert lines, f"the child did not begin: {ran.stderr}"
        if ran.returncode == 0:
            break
        last_words = ran.stderr.strip().splitlines()[-1:] or [""]
        first = max(outcomes) + 1
        outcomes[first - 1] = f"the process died ({ran.returncode}): {last_words[0]}"
    return outcomes, peak_kb


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_damaged_recording_ends_as_samples_or_a_code() -> None:
    """No crash, no hang of ten seconds, no memory over the cap; the seed says which files they were."""
    share = -(-FILES // PROCESSES)
    firsts = range(0, FILES, share)
    with ThreadPoolExecutor(PROCESSES) as pool:
        runs = list(pool.map(_outcomes, firsts, [min(first + share, FILES) for first in firsts]))
    outcomes = {number: outcome for run, _ in runs for number, outcome in run.items()}
    files = every_format(seconds=1.0)
    wrong = []
    for number, outcome in sorted(outcomes.items()):
        if outcome not in CODES:
            file, _, done = damaged_file(SEED, number, files)
            wrong.append(f"{number}: {file.name}, {done}: {outcome}")
    counted = Counter(outcomes.values())
    sys.stdout.write(f"CLEARCALL_FUZZ_SEED={SEED} CLEARCALL_FUZZ_FILES={FILES}: {dict(counted)}\n")
    assert wrong == [], f"CLEARCALL_FUZZ_SEED={SEED} CLEARCALL_FUZZ_FILES={FILES}"
    assert sorted(outcomes) == list(range(FILES))
    assert max(peak_kb for _, peak_kb in runs) < MOST_MEMORY_KB
    # That most are refused would say nothing of the decoders.
    assert counted["samples"] > FILES / 3
    decoded = {
        files[number % len(files)].name for number, outcome in outcomes.items() if outcome == "samples"
    }
    assert len(decoded) == len(files) or 20 * len(files) > FILES
