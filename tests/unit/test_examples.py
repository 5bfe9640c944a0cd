"""The example recordings are what their README and their events say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy import signal

from examples.make_examples import NOISES, SAMPLE_RATE_HZ, Utterance, line_band, mix, rms, speech_rms
from examples.scenes import SCENES, Leg, Noise, Scene
from schemas import decode

FOLDER = Path(__file__).parents[2] / "examples"
LISTED: list[dict[str, Any]] = json.loads((FOLDER / "calls.json").read_text(encoding="utf-8"))
MAX_BYTES = 3_000_000
BY_FILE = {scene.file: scene for scene in SCENES}
# These need no espeak-ng.
SYNTHETIC: list[Noise] = [name for name in NOISES if name != "babble"]


def test_every_recording_is_listed_once_and_has_a_scene() -> None:
    files = [call["file"] for call in LISTED]
    assert len(files) == 6
    assert sorted(files) == sorted(path.name for path in FOLDER.glob("*.wav")) == sorted(BY_FILE)
    assert len({call["event"]["call_id"] for call in LISTED}) == len(files)


def test_the_recordings_take_little_space() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < MAX_BYTES


@pytest.mark.parametrize("call", LISTED, ids=lambda call: call["file"])
def test_a_recording_is_a_short_stereo_call_in_mu_law(call: dict[str, Any]) -> None:
    found = soundfile.info(FOLDER / call["file"])
    assert (found.format, found.subtype, found.samplerate, found.channels) == (
        "WAV",
        "ULAW",
        SAMPLE_RATE_HZ,
        2,
    )
    assert 15.0 <= found.duration <= 25.0


@pytest.mark.parametrize("call", LISTED, ids=lambda call: call["file"])
def test_an_event_needs_only_an_address_to_be_accepted(call: dict[str, Any]) -> None:
    address = f"s3://recordings/{call['file']}"
    event = decode(json.dumps(call["event"] | {"recording": {"url": address}}).encode()).event
    assert event.recording.url == address
    assert event.call_id == call["event"]["call_id"]
    assert {party.role for party in event.channels} == {"agent", "customer"}
    assert "recording" not in call["event"]
    # Nothing in it is dropped as unknown.
    assert set(call["event"]) <= set(type(event).model_fields)


def test_one_call_has_its_channels_the_other_way_round() -> None:
    first = {call["file"]: call["event"]["channels"][0]["role"] for call in LISTED}
    assert [file for file, role in first.items() if role == "customer"] == ["appointment.wav"]


@pytest.mark.parametrize("call", LISTED, ids=lambda call: call["file"])
def test_each_channel_holds_the_party_that_the_event_names(call: dict[str, Any]) -> None:
    """The level of the voice tells the parties apart: no scene gives both the same."""
    samples, _ = soundfile.read(FOLDER / call["file"])
    found_dbfs = np.array([_voice_dbfs(channel) for channel in samples.T])
    legs = [BY_FILE[call["file"]].legs[party["role"]] for party in call["event"]["channels"]]
    stated_dbfs = np.array([leg.speech_dbfs + 10 * np.log10(1 + 10 ** (-leg.snr_db / 10)) for leg in legs])
    np.testing.assert_allclose(found_dbfs, stated_dbfs, atol=3.0)
    other_way_round = np.abs(found_dbfs - stated_dbfs[::-1]).sum()
    assert np.abs(found_dbfs - stated_dbfs).sum() < other_way_round


def _voice_dbfs(channel: np.ndarray[Any, Any]) -> float:
    # The loudest third of the frames: about as long as each party speaks.
    frame = SAMPLE_RATE_HZ // 50
    powers = np.mean(np.square(channel[: len(channel) // frame * frame].reshape(-1, frame)), axis=1)
    return float(10 * np.log10(np.mean(np.sort(powers)[-len(powers) // 3 :])))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.file)
def test_the_readme_states_each_level_and_noise(scene: Scene) -> None:
    (row,) = [
        line
        for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {scene.file} |")
    ]
    said = [cell.strip() for cell in row.strip("|").split("|")][2:]
    expected = []
    for role in ("agent", "customer"):
        leg = scene.legs[role]
        expected += [f"{leg.speech_dbfs:g} dBFS", f"{leg.noise}, SNR {leg.snr_db:g} dB"]
    assert said == expected


@pytest.mark.parametrize("noise", SYNTHETIC)
def test_noise_is_the_same_each_time_and_as_loud_as_stated(noise: Noise) -> None:
    leg = Leg(voice="none", words_per_minute=1, speech_dbfs=-20.0, noise=noise, snr_db=10.0)
    frames = 8 * SAMPLE_RATE_HZ
    first, second = (mix(leg, [], frames, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (frames,)
    assert 20 * np.log10(rms(first)) == pytest.approx(-30.0, abs=0.01)
    assert not np.array_equal(first, mix(leg, [], frames, np.random.default_rng(8)))


@pytest.mark.parametrize("noise", SYNTHETIC)
def test_noise_keeps_to_the_telephone_band(noise: Noise) -> None:
    leg = Leg(voice="none", words_per_minute=1, speech_dbfs=0.0, noise=noise, snr_db=0.0)
    made = mix(leg, [], 8 * SAMPLE_RATE_HZ, np.random.default_rng(7))
    frequencies_hz, powers = signal.welch(made, SAMPLE_RATE_HZ, nperseg=1024)
    outside = (frequencies_hz < 200) | (frequencies_hz > 3700)
    assert np.sum(powers[outside]) < 0.01 * np.sum(powers)


def test_a_line_is_heard_where_it_begins() -> None:
    leg = Leg(voice="none", words_per_minute=1, speech_dbfs=-20.0, noise="hiss", snr_db=60.0)
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    made = mix(leg, [Utterance("agent", 4000, tone)], 2 * SAMPLE_RATE_HZ, np.random.default_rng(1))
    np.testing.assert_allclose(made[4000:12000], tone, atol=0.001)
    assert rms(made[:4000]) < 0.001
    assert speech_rms(made) == pytest.approx(rms(tone), rel=0.01)


def test_the_line_takes_away_what_is_outside_its_band() -> None:
    at_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for frequency_hz, low, high in ((50, 0.0, 0.01), (1000, 0.99, 1.01), (3900, 0.0, 0.1)):
        tone = np.sin(2 * np.pi * frequency_hz * at_s)
        assert low <= rms(line_band(tone)) / rms(tone) <= high
