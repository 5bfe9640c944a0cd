"""The denoise stage: what each channel gets, who does it, and that the others pass in step."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from dsp import ChainFileError, load_chain_file
from dsp.audio import Samples
from dsp.rnnoise_model import RnNoiseUnavailable
from dsp.speech import CLEAN_SNR_DB, SpeechLevels
from dsp.stages import Context, Denoise
from dsp.stages.denoise import auto_method
from tests.support.sounds import rms_db
from tests.support.streams import context_of, through

RATE_HZ = 8_000
BLOCKS = [1, 7, 160, 4_096, 100_000]


class Halving:
    """Stands in for an engine: halves what it is given, 1,000 frames late."""

    made: list[tuple[int, int, dict[str, float]]]

    def __init__(self, sample_rate_hz: int, of: int | list[float], **more: float) -> None:
        channels = of if isinstance(of, int) else len(of)
        type(self).made.append((sample_rate_hz, channels, more))
        self._held: Samples = np.empty((0, channels), dtype=np.float32)

    def push(self, block: Samples) -> Samples:
        held = np.concatenate([self._held, block * np.float32(0.5)])
        ready = max(0, len(held) - 1_000)
        self._held = held[ready:]
        return held[:ready]

    def finish(self) -> Samples:
        return self._held


class Refusing:
    """Stands in for an engine that cannot be had."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RnNoiseUnavailable("no weights")


ENGINES = {"rnnoise": "RnNoise", "omlsa": "OmLsa", "logmmse": "LogMmse", "afftdn": "Afftdn"}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int, dict[str, float]]]]:
    """Every engine is the stand-in; gives how each was made."""
    Halving.made = []
    for module_name, class_name in ENGINES.items():
        monkeypatch.setattr(f"dsp.{module_name}.{class_name}", Halving)
    yield Halving.made
    Halving.made = []


def _words(seconds: float = 12.0, noise_dbfs: float | None = -45.0, seed: int = 1) -> Samples:
    """A party that speaks 0.6 s of each second at -20 dBFS, shape (frames,)."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    voice = generator.normal(0.0, 0.1, time_s.size) * (time_s % 1.0 < 0.6)
    noise = 0.0 if noise_dbfs is None else generator.normal(0.0, 10 ** (noise_dbfs / 20), time_s.size)
    words: Samples = (voice + noise).astype(np.float32)
    return words


def _call() -> Samples:
    """Noisy, silent, clean, with digital silence between the words, noisy: five channels."""
    silence = np.zeros(96_000, dtype=np.float32)
    words = [_words(), silence, _words(noise_dbfs=-70.0), _words(noise_dbfs=None), _words(seed=2)]
    call: Samples = np.stack(words, axis=1).astype(np.float32)
    return call


def _denoised(stage: Denoise, samples: Samples, block_frames: int = 4_096) -> tuple[Samples, Context]:
    context = context_of(samples)
    return through(stage.open(context), samples, block_frames), context


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (SpeechLevels(None, None, 0.0), ("none", "no noise between the speech")),
        (SpeechLevels(-20.0, None, 5.0), ("none", "no noise between the speech")),
        (SpeechLevels(None, -50.0, 0.0), ("none", "no speech found")),
        (SpeechLevels(-20.0, -34.25, 5.0), ("rnnoise", "snr 14.2 dB")),
        (SpeechLevels(-20.0, -20.1 - CLEAN_SNR_DB, 5.0), ("none", "snr 38.1 dB: clean enough")),
    ],
)
def test_auto_goes_by_what_was_measured(levels: SpeechLevels, expected: tuple[str, str]) -> None:
    assert auto_method(levels) == expected


def test_auto_denoises_the_noisy_channels_and_no_other(made: list[tuple[int, int, dict[str, float]]]) -> None:
    """By one engine for all that need it; the rest pass bit for bit, and silence is silence."""
    call = _call()
    out, context = _denoised(Denoise(), call)
    assert made == [(RATE_HZ, 2, {"mix": 0.1})]
    assert np.array_equal(out[:, [0, 4]], call[:, [0, 4]] * np.float32(0.5))
    assert np.array_equal(out[:, 1:4], call[:, 1:4])
    said = [(outcome.method, outcome.applied) for outcome in context.denoise]
    assert said == [("rnnoise", True), ("none", False), ("none", False), ("none", False), ("rnnoise", True)]
    assert context.denoise[0].reason.startswith("snr 2")
    assert context.denoise[1].reason == "no noise between the speech"
    assert context.denoise[2].reason.endswith("clean enough")


@pytest.mark.parametrize("method", list(ENGINES))
def test_a_method_that_is_named_runs_wherever_there_is_noise(
    method: str, made: list[tuple[int, int, dict[str, float]]]
) -> None:
    call = _call()
    out, context = _denoised(Denoise.model_validate({"method": method}), call)
    assert made == [(RATE_HZ, 3, {"mix": 0.2} if method == "rnnoise" else {})]
    assert [outcome.applied for outcome in context.denoise] == [True, False, True, False, True]
    assert {outcome.method for outcome in context.denoise} == {method}
    assert np.array_equal(out[:, [0, 2, 4]], call[:, [0, 2, 4]] * np.float32(0.5))
    assert np.array_equal(out[:, [1, 3]], call[:, [1, 3]])


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("block_frames", BLOCKS)
def test_channels_that_pass_stay_in_step_however_the_stream_is_cut(block_frames: int) -> None:
    call = _call()[: 4_000 if block_frames == 1 else None]
    expected, _ = _denoised(Denoise(), call, len(call))
    out, _ = _denoised(Denoise(), call, block_frames)
    assert out.shape == call.shape
    assert out.tobytes() == expected.tobytes()


def test_where_rnnoise_cannot_be_rebuilt_its_own_loop_runs(
    made: list[tuple[int, int, dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort, and the report says so."""
    monkeypatch.setattr("dsp.rnnoise.RnNoise", Refusing)
    monkeypatch.setattr("dsp.rnnoise_library.LibraryRnNoise", Halving)
    call = _call()
    out, context = _denoised(Denoise(mix=0.3), call)
    assert made == [(RATE_HZ, 2, {"mix": 0.3})]
    assert np.array_equal(out[:, [0, 4]], call[:, [0, 4]] * np.float32(0.5))
    (warning,) = context.warnings
    assert warning.code == "denoiser_fallback"
    assert warning.message.endswith("no weights")


def test_where_nothing_is_noisy_no_engine_is_made(made: list[tuple[int, int, dict[str, float]]]) -> None:
    clean = _words(noise_dbfs=-70.0)[:, None]
    out, _ = _denoised(Denoise(), clean)
    assert np.array_equal(out, clean)
    assert made == []


def test_a_chain_may_ask_for_none() -> None:
    call = _call()
    out, context = _denoised(Denoise(method="none"), call)
    assert np.array_equal(out, call)
    assert {(o.method, o.applied, o.reason) for o in context.denoise} == {
        ("none", False, "the chain asks for none")
    }


def test_the_spectral_gate_takes_what_it_can_learn() -> None:
    """A channel at a time: what the others hold makes no difference."""
    call = _call()
    out, context = _denoised(Denoise(method="spectral_gate"), call)
    assert [outcome.applied for outcome in context.denoise] == [True, False, True, False, True]
    assert np.array_equal(out[:, [1, 3]], call[:, [1, 3]])
    alone, _ = _denoised(Denoise(method="spectral_gate"), call[:, [4]])
    assert np.array_equal(out[:, [4]], alone)
    pauses = np.arange(len(call)) / RATE_HZ % 1.0
    pauses_only = (pauses > 0.7) & (pauses < 0.9)
    assert rms_db(out[pauses_only, 0]) < rms_db(call[pauses_only, 0]) - 7.0


def test_a_recording_too_short_to_learn_from_is_left_alone() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.03, (2_000, 1)).astype(np.float32)
    out, context = _denoised(Denoise(method="spectral_gate"), noise)
    assert np.array_equal(out, noise)
    assert context.denoise[0].reason == "too little without speech to learn the noise from"
    assert context.denoise[0].applied is False


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("method", ["auto", *ENGINES, "spectral_gate", "none"])
@pytest.mark.parametrize("frames", [0, 1, 399, 3_199, 8_000])
def test_silence_of_any_length_passes(method: str, frames: int) -> None:
    silence = np.zeros((frames, 2), dtype=np.float32)
    out, context = _denoised(Denoise.model_validate({"method": method}), silence)
    assert np.array_equal(out, silence)
    assert [outcome.applied for outcome in context.denoise] == [False, False]


def _chain(denoise: dict[str, object]) -> str:
    return json.dumps({"version": 1, "chains": {"a": {"stages": [{"denoise": denoise}]}}}, indent=1)


@pytest.mark.parametrize("method", ["omlsa", "logmmse", "spectral_gate", "afftdn", "none"])
def test_a_mix_for_a_method_that_has_none_is_refused(method: str) -> None:
    """With its line, as every mistake; for it would do nothing."""
    text = _chain({"method": method, "mix": 0.2})
    with pytest.raises(
        ChainFileError, match=f"belongs to the methods `auto` and `rnnoise`; `{method}`"
    ) as no:
        load_chain_file(text, origin="a.json")
    assert '"mix"' in text.splitlines()[no.value.problems[0].line - 1]


@pytest.mark.parametrize("told", [{}, {"method": "rnnoise", "mix": 0}, {"method": "omlsa"}, {"mix": 1.0}])
def test_a_chain_is_read_back_as_it_was_written(told: dict[str, object]) -> None:
    """Its digest has no option that decides nothing."""
    chain = load_chain_file(_chain(told), origin="a").resolve()
    again = type(chain).from_json(json.loads(json.dumps(chain.to_json())))
    assert again == chain
    assert ("mix" in json.dumps(chain.to_json())) == (told.get("method") != "omlsa")


@pytest.mark.parametrize("mix", [-0.1, 1.1])
def test_a_share_is_between_nothing_and_all(mix: float) -> None:
    with pytest.raises(ChainFileError, match="must be"):
        load_chain_file(_chain({"mix": mix}), origin="a")


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(ChainFileError, match="did you mean `rnnoise`"):
        load_chain_file(_chain({"method": "rnnois"}), origin="a")
