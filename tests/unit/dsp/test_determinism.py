"""The same recording and chain give the same bytes: in any process, cut in any blocks, alone or side by side."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import dsp
from dsp import OUTPUT_VERSION, ChannelInfo, Source, audio, decode_pcm, levelling, scratch
from dsp.audio import Samples
from tests.support.chains import spoken

PARTIES = (ChannelInfo("agent"), ChannelInfo("customer"))
# Lossless outputs of the default chain, of the fast one, and of every plain stage.
SPEC: dict[str, Any] = {
    "stages": ["denoise", "normalize", "limit"],
    "renditions": {
        "listen": {"format": "flac"},
        "wav": {"format": "wav"},
        "fast": {
            "format": "flac",
            "stages": [{"denoise": {"method": "omlsa"}}, "normalize", {"limit": {"speed": "smooth"}}],
        },
        "plain": {
            "format": "wav",
            "encoding": "mulaw",
            "layout": "split",
            "stages": ["highpass", "dehum", "compress", "normalize", "limit"],
        },
        "wide": {"format": "wav", "encoding": "pcm_24", "layout": "mono", "sample_rate_hz": 16_000},
    },
}
CHAIN_FILE = json.dumps({"version": 1, "chains": {"mine": SPEC}})

_SCRIPT = """
import json, sys
from pathlib import Path
import dsp
chain = dsp.load_chain_file(sys.argv[1], origin="mine").resolve(named_roles=True)
parties = (dsp.ChannelInfo("agent"), dsp.ChannelInfo("customer"))
report = dsp.clean(dsp.Source(Path(sys.argv[2]), channels=parties), chain, Path(sys.argv[3]))
print(json.dumps({rendition.name: rendition.sha256 for rendition in report.renditions}))
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few seconds of a noisy call."""
    path = tmp_path_factory.mktemp("in") / "call.wav"
    soundfile.write(path, spoken("hotel", 6.0), 8_000, subtype="ULAW")
    return path


def _hashes(recording: Path, out_dir: Path) -> dict[str, str]:
    chain = dsp.load_chain_file(CHAIN_FILE, origin="mine").resolve(named_roles=True)
    out_dir.mkdir(exist_ok=True)
    report = dsp.clean(Source(recording, channels=PARTIES), chain, out_dir)
    return {rendition.name: rendition.sha256 for rendition in report.renditions}


@pytest.fixture(scope="module")
def expected(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the outputs as this process makes them."""
    return _hashes(recording, tmp_path_factory.mktemp("out"))


def test_the_outputs_differ_from_each_other(expected: dict[str, str]) -> None:
    """So that what follows compares something."""
    assert [*expected] == ["listen", "wav", "fast", "plain-0", "plain-1", "wide"]
    assert len(set(expected.values())) == len(expected)


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_in_a_fresh_process_with_any_order_of_hashes(
    recording: Path, expected: dict[str, str], tmp_path: Path, seed: str
) -> None:
    ended = subprocess.run(  # noqa: S603  (this Python, our own script)
        [sys.executable, "-c", _SCRIPT, CHAIN_FILE, str(recording), str(tmp_path)],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout) == expected


@pytest.mark.parametrize("threads", ["1", "7"])
def test_with_any_number_of_threads(
    recording: Path, expected: dict[str, str], tmp_path: Path, threads: str
) -> None:
    """Of the libraries that ask the environment how many they may take."""
    limits = {f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    ended = subprocess.run(  # noqa: S603  (this Python, our own script)
        [sys.executable, "-c", _SCRIPT, CHAIN_FILE, str(recording), str(tmp_path)],
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout) == expected


@pytest.mark.parametrize("frames", [517, 4_096, 100_000])
def test_cut_into_blocks_of_any_length(
    recording: Path,
    expected: dict[str, str],
    tmp_path: Path,
    frames: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the decoder, between the passes, and where gains are tried."""
    for module in (audio, decode_pcm, levelling, scratch):
        monkeypatch.setattr(module, "BLOCK_FRAMES", frames)
    assert _hashes(recording, tmp_path) == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_alone_or_side_by_side(recording: Path, expected: dict[str, str], tmp_path: Path, jobs: int) -> None:
    """``clearcall clean --jobs``, with another recording beside it."""
    (tmp_path / "chains.json").write_text(CHAIN_FILE)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(recording.read_bytes())
    soundfile.write(tmp_path / "in" / "b.wav", spoken("router", 6.0), 8_000, subtype="ULAW")
    names = [option for name in ("listen", "wav", "fast", "wide") for option in ("--rendition", name)]
    subprocess.run(  # noqa: S603  (this Python, our own program)
        [
            *(sys.executable, "-c", "from app.cli import main; main()"),
            *("clean", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--channels", "agent,customer"),
            *("--chain-file", str(tmp_path / "chains.json"), "--jobs", str(jobs), *names),
        ],
        check=True,
        capture_output=True,
    )
    for name, suffix in {"listen": "flac", "wav": "wav", "fast": "flac", "wide": "wav"}.items():
        content = (tmp_path / "out" / f"a.{name}.{suffix}").read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected[name]


def _generated() -> Samples:
    """A call of integers alone, the same on every machine: two parties of shaped noise in turns, over hiss."""
    state, words = 1, []
    for _ in range(2 * 64_000):  # a linear congruential generator (Numerical Recipes)
        state = (state * 1_664_525 + 1_013_904_223) & 0xFFFF_FFFF
        words.append(state >> 16)
    noise = np.array(words, dtype=np.int64).reshape(-1, 2) - 32_768
    smooth = noise.copy()
    for later in (1, 2, 3):
        smooth[later:] += noise[:-later]
    at = np.arange(len(noise))
    syllable = np.minimum(at % 2_000, 2_000 - at % 2_000)  # 0 to 1000
    turn = np.stack([at // 16_000 % 2 == 0, at // 16_000 % 2 == 1], axis=1)
    steps = smooth * syllable[:, None] * turn // 12_000 + noise // 300
    samples: Samples = (np.clip(steps, -32_768, 32_767) / 32_768).astype(np.float32)
    return samples


# SHA-256 of the samples, not of the files: an encoder may write them otherwise in another version.
GOLDEN = {
    "input": "f0bd821a0ba7414ccca456b211bed8ec17d1abddca3261d708956f2f9f8fa37a",
    "level": "b5757d7c767dd707acb02a62fd5551a0bffe5da77f295a7be1f69d75c96172d8",
    "default": "6085ed916a700f51fb35c83024b7011990b07db213d8c71cb6fe58b91e618827",
    "fast": "ea66b06c20f979cb3a330e7a0d84d77a9486ca66158822e36627bba9e040effd",
}
GOLDEN_OF_VERSION = 2


def test_what_comes_out_does_not_change_without_its_version(tmp_path: Path) -> None:
    """The samples of a call that is made here, through chains whose arithmetic is the same on every x86 machine.

    If this fails, the same chain gives other samples than before: results that are stored would not be made again. If
    that is meant, raise ``OUTPUT_VERSION`` in dsp/chain.py once a release, and put the new hashes and the new version
    here. If it is not meant, something depends on the machine, on a library's version or on chance: find it.
    """
    levelled = ["normalize", "limit"]
    spec = {
        "renditions": {
            "level": {"format": "wav", "stages": levelled},
            "default": {"format": "wav", "stages": ["denoise", *levelled]},
            "fast": {"format": "wav", "stages": [{"denoise": {"method": "omlsa"}}, *levelled]},
        }
    }
    text = json.dumps({"version": 1, "chains": {"golden": spec}})
    chain = dsp.load_chain_file(text, origin="golden").resolve(named_roles=True)
    path = tmp_path / "in.wav"
    soundfile.write(path, _generated(), 8_000, subtype="PCM_16")
    report = dsp.clean(Source(path, channels=PARTIES), chain, tmp_path)
    files = {"input": str(path)} | {rendition.name: rendition.path for rendition in report.renditions}
    found = {
        name: hashlib.sha256(soundfile.read(file, dtype="int16")[0].astype("<i2").tobytes()).hexdigest()
        for name, file in files.items()
    }
    assert OUTPUT_VERSION == GOLDEN_OF_VERSION
    assert found == GOLDEN
