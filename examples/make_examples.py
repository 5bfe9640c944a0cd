"""Make the example recordings: telephone calls of two parties, spoken by espeak-ng, in noise of several kinds.

    python examples/make_examples.py [FOLDER]

Needs the program espeak-ng (Debian and Ubuntu: ``apt-get install espeak-ng``). The same version of it gives the same
bytes each time. Which party is in which channel is read from calls.json, so that recording and event cannot disagree.
"""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import signal

# Run as a file, the folder above this one is not where Python looks.
sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.scenes import CHATTER, SCENES, Leg, Noise, Role, Scene

Samples = NDArray[np.float64]

HERE: Final = Path(__file__).parent
SAMPLE_RATE_HZ: Final = 8000
BAND_HZ: Final = (300.0, 3400.0)
"""The band of a telephone line (ITU-T G.712)."""
TAIL_S: Final = 0.6
MAINS_HZ: Final = 50.0
SPEAKS_ABOVE_DB: Final = -30.0
"""Frames this far below a text's loudest are not counted as speech when its level is set."""


def speak(text: str, voice: str, words_per_minute: int) -> Samples:
    """Let espeak-ng say a text.

    Returns
    -------
    Samples, shape (frames,), at `SAMPLE_RATE_HZ`, without silence around them.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SystemExit("make_examples: espeak-ng is not installed; try `apt-get install espeak-ng`")
    command = [program, "-v", voice, "-s", str(words_per_minute), "--stdout", "--", text]
    spoken = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - texts of scenes.py
    # espeak-ng writes to a pipe and cannot go back to say the length in the header: it is read to the end.
    samples, rate_hz = soundfile.read(io.BytesIO(_with_lengths(spoken.stdout)), dtype="float64")
    at_line_rate = signal.resample_poly(samples, SAMPLE_RATE_HZ, rate_hz)
    loud = np.flatnonzero(np.abs(at_line_rate) > 0.01 * np.max(np.abs(at_line_rate)))
    return np.asarray(at_line_rate[loud[0] : loud[-1] + 1])


def _with_lengths(wav: bytes) -> bytes:
    data = wav.index(b"data")
    riff_bytes, data_bytes = len(wav) - 8, len(wav) - data - 8
    header = wav[:4] + riff_bytes.to_bytes(4, "little") + wav[8 : data + 4] + data_bytes.to_bytes(4, "little")
    return header + wav[data + 8 :]


def line_band(samples: Samples) -> Samples:
    """Leave what a telephone line lets through."""
    sections = signal.butter(4, BAND_HZ, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(signal.sosfilt(sections, samples))


def rms(samples: Samples) -> float:
    """Root mean square, in the unit of the samples."""
    return float(np.sqrt(np.mean(np.square(samples))))


def speech_rms(samples: Samples) -> float:
    """RMS of the frames of 20 ms in which somebody speaks."""
    frame = SAMPLE_RATE_HZ // 50
    powers = np.mean(np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)), axis=1)
    return float(np.sqrt(np.mean(powers[powers > np.max(powers) * 10 ** (SPEAKS_ABOVE_DB / 10)])))


def amplitude(level_db: float) -> float:
    """Turn a level in dB into a factor."""
    return float(10 ** (level_db / 20))


def hiss(frames: int, rng: np.random.Generator) -> Samples:
    """Thermal noise of a long line: white."""
    return rng.standard_normal(frames)


def pink(frames: int, rng: np.random.Generator) -> Samples:
    """Noise whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(frames))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    return np.asarray(np.fft.irfft(spectrum, frames))


def babble(frames: int, rng: np.random.Generator) -> Samples:
    """Colleagues on the telephone, in a room with some echo, over the murmur of the rest."""
    echo_frames = SAMPLE_RATE_HZ // 4
    room = rng.standard_normal(echo_frames) * np.exp(-np.arange(echo_frames) / (0.05 * SAMPLE_RATE_HZ))
    mixed = np.zeros(frames)
    for voice, text in CHATTER:
        spoken = speak(text, voice, int(rng.integers(160, 195)))
        repeated = np.resize(np.concatenate([spoken, np.zeros(SAMPLE_RATE_HZ)]), frames)
        level = amplitude(rng.uniform(-6, 0)) / speech_rms(spoken)
        mixed += level * np.roll(repeated, int(rng.integers(frames)))
    echoed = signal.fftconvolve(mixed, room)[:frames]
    murmur = pink(frames, rng)
    return np.asarray(echoed / rms(echoed) + 0.2 * murmur / rms(murmur))


def street(frames: int, rng: np.random.Generator) -> Samples:
    """The rumble of traffic, with cars that pass."""
    at_s = np.arange(frames) / SAMPLE_RATE_HZ
    loudness = np.ones(frames)
    for _ in range(max(1, round(at_s[-1] / 4))):
        passes_at_s, for_s = rng.uniform(0, at_s[-1]), rng.uniform(0.5, 1.2)
        loudness += rng.uniform(0.8, 1.8) * np.exp(-(((at_s - passes_at_s) / for_s) ** 2))
    return pink(frames, rng) * loudness


def hum(frames: int, rng: np.random.Generator) -> Samples:
    """Mains hum with its harmonics, of which the line passes those above 300 Hz, and a little hiss."""
    at_s = np.arange(frames) / SAMPLE_RATE_HZ
    harmonics = np.arange(1, 25)
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    # A rectifier's buzz: the even harmonics are the stronger ones.
    strengths = np.where(harmonics % 2 == 0, 1.0, 0.4) / np.sqrt(harmonics)
    tones = strengths[:, None] * np.sin(2 * np.pi * MAINS_HZ * harmonics[:, None] * at_s + phases[:, None])
    return np.asarray(tones.sum(axis=0) + 0.05 * hiss(frames, rng))


def fan(frames: int, rng: np.random.Generator) -> Samples:
    """Rushing air, chopped by the blades."""
    at_s = np.arange(frames) / SAMPLE_RATE_HZ
    blades_hz = 92.0
    air = pink(frames, rng) * (1 + 0.35 * np.sin(2 * np.pi * blades_hz * at_s))
    whine = 0.25 * rms(air) * np.sin(2 * np.pi * 4 * blades_hz * at_s)
    return np.asarray(air + whine)


def keyboard(frames: int, rng: np.random.Generator) -> Samples:
    """Somebody types: bursts of keys, each heard going down and coming up."""
    clicks = np.zeros(frames + SAMPLE_RATE_HZ)
    key_frames = SAMPLE_RATE_HZ // 50
    decay = np.exp(-np.arange(key_frames) / (0.003 * SAMPLE_RATE_HZ))
    at_s = 0.3
    while at_s * SAMPLE_RATE_HZ < frames:
        for _ in range(int(rng.integers(4, 12))):
            for after_s, strength in ((0.0, 1.0), (rng.uniform(0.06, 0.1), 0.5)):
                begin = int((at_s + after_s) * SAMPLE_RATE_HZ)
                clicks[begin : begin + key_frames] += strength * decay * rng.standard_normal(key_frames)
            at_s += rng.uniform(0.11, 0.24)
            if at_s * SAMPLE_RATE_HZ >= frames:
                break
        at_s += rng.uniform(0.5, 1.6)
    return clicks[:frames] + 0.01 * hiss(frames, rng)


NOISES: Final[dict[Noise, Callable[[int, np.random.Generator], Samples]]] = {
    "hiss": hiss,
    "babble": babble,
    "street": street,
    "hum": hum,
    "fan": fan,
    "keyboard": keyboard,
}


@dataclass(frozen=True)
class Utterance:
    """A spoken line and where it begins."""

    by: Role
    begin: int
    samples: Samples


def act(scene: Scene) -> list[Utterance]:
    """Speak the lines of a scene, one after another."""
    utterances: list[Utterance] = []
    end = 0
    for line in scene.lines:
        leg = scene.legs[line.by]
        spoken = line_band(speak(line.text, leg.voice, leg.words_per_minute))
        begin = max(0, end + round(line.after_s * SAMPLE_RATE_HZ))
        level = amplitude(leg.speech_dbfs) / speech_rms(spoken)
        utterances.append(Utterance(line.by, begin, level * spoken))
        end = max(end, begin + len(spoken))
    return utterances


def mix(leg: Leg, utterances: list[Utterance], frames: int, rng: np.random.Generator) -> Samples:
    """One party's channel: what that party says, and the noise around."""
    channel = np.zeros(frames)
    for said in utterances:
        channel[said.begin : said.begin + len(said.samples)] += said.samples
    # The second is for the filter to settle.
    noise = line_band(NOISES[leg.noise](frames + SAMPLE_RATE_HZ, rng))[SAMPLE_RATE_HZ:]
    return np.asarray(channel + amplitude(leg.speech_dbfs - leg.snr_db) / rms(noise) * noise)


def record(scene: Scene, roles: list[Role], seed: int) -> Samples:
    """Record a call, a channel a party.

    Returns
    -------
    Samples, shape (frames, channels), channels in the order of the roles, full scale +-1.0.
    """
    utterances = act(scene)
    frames = max(said.begin + len(said.samples) for said in utterances) + round(TAIL_S * SAMPLE_RATE_HZ)
    channels = []
    for index, role in enumerate(roles):
        theirs = [said for said in utterances if said.by == role]
        channels.append(mix(scene.legs[role], theirs, frames, np.random.default_rng([seed, index])))
    call = np.stack(channels, axis=1)
    peak = float(np.max(np.abs(call)))
    if peak >= 1.0:
        raise SystemExit(f"make_examples: {scene.file} would clip at {peak:.2f}; lower a speech_dbfs")
    return call


def main(folder: Path) -> None:
    """Write the recordings into a folder."""
    listed: list[dict[str, Any]] = json.loads((HERE / "calls.json").read_text(encoding="utf-8"))
    roles = {call["file"]: [party["role"] for party in call["event"]["channels"]] for call in listed}
    folder.mkdir(parents=True, exist_ok=True)
    for seed, scene in enumerate(SCENES, start=1):
        call = record(scene, roles[scene.file], seed)
        soundfile.write(folder / scene.file, call, SAMPLE_RATE_HZ, format="WAV", subtype="ULAW")
        print(f"{scene.file}: {len(call) / SAMPLE_RATE_HZ:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
