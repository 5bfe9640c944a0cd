"""OM-LSA: the equations of the papers, and the laws that both spectral denoisers keep."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import exp1

from dsp.audio import Samples
from dsp.logmmse import LogMmse
from dsp.omlsa import OmLsa
from dsp.stft import SpectralFilter
from tests.support.recordings import TelephoneCall
from tests.support.spectral import TINY, ReferenceFloor, Row, noise, reference, rms_db, si_sdr_db, through

RATE_HZ = 8_000
HOP = 128
EXAMPLES = Path(__file__).parents[3] / "examples"
BOTH: list[type[OmLsa | LogMmse]] = [OmLsa, LogMmse]
RATES_HZ = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]

both = pytest.mark.parametrize("denoiser", BOTH)


def _call(seconds: float, seed: int = 7) -> Samples:
    """Two parties with steady noise, shape (frames, 2)."""
    samples: Samples = TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()
    return samples


def _example(name: str) -> Samples:
    samples: Samples = soundfile.read(EXAMPLES / f"{name}.wav", dtype="float32")[0]
    return samples


class ReferenceOmLsa:
    """Cohen 2003 and Cohen and Berdugo 2001, as printed."""

    alpha_s, alpha_d, beta, alpha, b_min = 0.81, 0.72, 1.47, 0.76, 2.0
    gamma_0, gamma_1, zeta_0, xi_min, stretch, stretches = 4.6, 3.0, 2.2, 10**-2.5, 6, 8

    def __init__(self) -> None:
        self.before = np.ones(129)
        self.floor = ReferenceFloor(-18.0, 30.0)
        self.known = False

    def _begin(self, power: Row) -> None:
        start = power + TINY
        self.s, self.s_rough, self.mean, self.noise = (start.copy() for _ in range(4))
        self.minima = [start.copy() for _ in range(self.stretches + 1)]
        self.rough_minima = [start.copy() for _ in range(self.stretches + 1)]
        self.s_min, self.s_rough_min = start.copy(), start.copy()
        self.frames = 0
        self.known = True

    def of(self, power: Row, silent: Sequence[bool]) -> Row:
        if not self.known and not any(silent):
            self._begin(power)
        if self.known and all(silent):
            self.floor.empty_frame()
        if not self.known or all(silent):
            return np.ones_like(power)
        if not any(silent):
            self._smooth(power)
        floor_db = self.floor.of(power, self.noise, learn=not any(silent))
        gain = self._gain(power, 10 ** (floor_db / 20), learn=not any(silent))
        if not any(silent):
            self._turn()
        return gain

    def _smooth(self, power: Row) -> None:
        weights = {-1: 0.25, 0: 0.5, 1: 0.25}
        around = np.pad(power, 1, mode="edge")
        mirrored = np.zeros_like(power)
        for i, w in weights.items():
            mirrored += w * around[1 + i : 1 + i + power.size]
        # At the ends the window has two bins; their weights are made equal.
        mirrored[0], mirrored[-1] = (power[0] + power[1]) / 2, (power[-1] + power[-2]) / 2
        self.s = self.alpha_s * self.s + (1 - self.alpha_s) * mirrored + TINY
        self.minima[-1] = np.minimum(self.minima[-1], self.s)
        self.s_min = np.minimum(self.s_min, self.s)
        line = self.b_min * self.s_min
        absent = (power < self.gamma_0 * line) & (self.s < self.zeta_0 * line)
        used = np.pad(absent.astype(float), 1)
        total, found = np.zeros_like(power), np.zeros_like(power)
        for i, w in weights.items():
            total += w * used[1 + i : 1 + i + power.size]
            found += w * (used * around)[1 + i : 1 + i + power.size]
        mean = np.divide(found, total, out=self.s_rough.copy(), where=total > 0)
        self.s_rough = self.alpha_s * self.s_rough + (1 - self.alpha_s) * mean + TINY
        self.rough_minima[-1] = np.minimum(self.rough_minima[-1], self.s_rough)
        self.s_rough_min = np.minimum(self.s_rough_min, self.s_rough)

    def _gain(self, power: Row, floor: float, *, learn: bool) -> Row:
        line = self.b_min * self.s_rough_min
        gamma_rough, zeta_rough = power / line, self.s / line
        q = np.clip((self.gamma_1 - gamma_rough) / (self.gamma_1 - 1), 0, 1) * (zeta_rough < self.zeta_0)
        gamma = power / self.noise
        xi = np.maximum(self.alpha * self.before + (1 - self.alpha) * np.maximum(gamma - 1, 0), self.xi_min)
        v = np.maximum(gamma * xi / (1 + xi), 1e-10)
        odds = np.divide(q, 1 - q, out=np.zeros_like(q), where=q < 1)
        p = np.where(q < 1, 1 / (1 + odds * (1 + xi) * np.exp(-v)), 0.0)
        g_h1 = xi / (1 + xi) * np.exp(exp1(v) / 2)
        self.before = g_h1**2 * gamma
        if learn:
            alpha_d = self.alpha_d + (1 - self.alpha_d) * p
            self.mean = alpha_d * self.mean + (1 - alpha_d) * power
            self.noise = self.beta * self.mean + TINY
        gain: Row = np.clip(g_h1**p * floor ** (1 - p), floor, 1.0)
        return gain

    def _turn(self) -> None:
        self.frames += 1
        if self.frames % self.stretch == 0:
            self.s_min = np.min(self.minima[1:], axis=0)
            self.s_rough_min = np.min(self.rough_minima[1:], axis=0)
            self.minima = [*self.minima[1:], self.s.copy()]
            self.rough_minima = [*self.rough_minima[1:], self.s_rough.copy()]


@pytest.mark.parametrize("name", ["breakdown", "parcel", "router"])
def test_it_computes_what_the_papers_say(name: str) -> None:
    """A bin that lies on a threshold may fall to either side in single precision: nothing that is heard."""
    samples = _example(name)[: 8 * RATE_HZ]
    cleaned = through(OmLsa(RATE_HZ, 2), samples)
    for channel in range(2):
        wanted = reference(samples[:, channel], ReferenceOmLsa())
        assert rms_db(cleaned[:, channel] - wanted) < rms_db(wanted) - 60.0


@both
@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_a_gain_of_1_gives_back_what_went_in(denoiser: type[OmLsa | LogMmse], sample_rate_hz: int) -> None:
    samples = noise(20_001, -10.0)[:, None]
    out = through(denoiser(sample_rate_hz, 1, floor_db=0.0), samples)
    assert rms_db(out - samples) < rms_db(samples) - 120.0


@both
@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_how_a_stream_is_cut_changes_no_bit(denoiser: type[OmLsa | LogMmse], sample_rate_hz: int) -> None:
    samples = np.concatenate([np.zeros((700, 2), np.float32), _call(3.0)])
    before = samples.copy()
    whole = through(denoiser(sample_rate_hz, 2), samples, block=100_000)
    assert whole.shape == samples.shape
    assert whole.dtype == np.float32
    for block in (7, 160, 4_096):
        assert np.array_equal(through(denoiser(sample_rate_hz, 2), samples, block=block), whole)
    assert np.array_equal(samples, before)


@both
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 9_000), max_size=12), frames=st.integers(0, 24_000))
def test_blocks_of_any_lengths_give_the_same(
    denoiser: type[OmLsa | LogMmse], cuts: list[int], frames: int
) -> None:
    samples = _call(3.0)[:frames]
    at = sorted({0, frames, *(cut for cut in cuts if cut < frames)})
    filter_ = denoiser(RATE_HZ, 2)
    parts = [filter_.push(samples[a:b]) for a, b in itertools.pairwise(at)]
    assert np.array_equal(
        np.concatenate([*parts, filter_.finish()]), through(denoiser(RATE_HZ, 2), samples, block=100_000)
    )


@both
@pytest.mark.parametrize("frames", [0, 1, 127, 128, 129, 3_199, 3_201, 30_000])
def test_silence_stays_silent(denoiser: type[OmLsa | LogMmse], frames: int) -> None:
    out = through(denoiser(RATE_HZ, 2), np.zeros((frames, 2), dtype=np.float32))
    assert out.shape == (frames, 2)
    assert not out.any()


@both
def test_silence_goes_through_at_once(denoiser: type[OmLsa | LogMmse]) -> None:
    """However long a party is not connected: nothing is held back but a frame."""
    filter_ = denoiser(RATE_HZ, 1)
    given_ = sum(len(filter_.push(np.zeros((8_000, 1), np.float32))) for _ in range(20))
    assert 160_000 - given_ <= 2 * HOP


@both
def test_digital_silence_in_a_noisy_call_stays_silent_and_is_survived(
    denoiser: type[OmLsa | LogMmse],
) -> None:
    """The noise after ten seconds of silence is lowered at once, and not what the silence taught."""
    sound = noise(24 * RATE_HZ, -40.0)[:, None]
    sound[8 * RATE_HZ : 18 * RATE_HZ] = 0.0
    out = through(denoiser(RATE_HZ, 1), sound)
    assert not out[8 * RATE_HZ : 18 * RATE_HZ].any()
    lowered_db = [rms_db(out[part]) - rms_db(sound[part]) for part in (
        slice(4 * RATE_HZ, 8 * RATE_HZ), slice(18 * RATE_HZ, 18 * RATE_HZ + 1_600), slice(20 * RATE_HZ, None)
    )]  # fmt: skip
    assert max(lowered_db) - min(lowered_db) < 2.0


@both
def test_each_channel_is_alone(denoiser: type[OmLsa | LogMmse]) -> None:
    samples = np.concatenate([_call(4.0), np.zeros((32_000, 1), np.float32)], axis=1)
    together = through(denoiser(RATE_HZ, 3), samples)
    for channel in range(3):
        alone = through(denoiser(RATE_HZ, 1), np.ascontiguousarray(samples[:, [channel]]))
        assert np.array_equal(alone[:, 0], together[:, channel])


@both
@pytest.mark.parametrize("hops", [1, 25, 400])
def test_a_later_sound_comes_out_later_and_the_same(denoiser: type[OmLsa | LogMmse], hops: int) -> None:
    """After digital silence of whole hops: to the bit, from the first sample on (25 hops are 400 ms)."""
    samples = _call(5.0)
    late = np.concatenate([np.zeros((hops * HOP, 2), np.float32), samples])
    assert np.array_equal(
        through(denoiser(RATE_HZ, 2), late)[hops * HOP :], through(denoiser(RATE_HZ, 2), samples)
    )


@both
@pytest.mark.parametrize("hops", [6, 48])
def test_what_was_heard_before_is_forgotten(denoiser: type[OmLsa | LogMmse], hops: int) -> None:
    """Whether noise went before or not: 10 s later the output differs by less than -60 dB.

    Noise of whole stretches, that is: OM-LSA's minimum is that of the stretch under way and those before it.
    """
    samples = _example("breakdown")[:, [1]]
    earlier = np.concatenate([noise(hops * HOP, -38.0)[:, None], samples])
    difference = through(denoiser(RATE_HZ, 1), earlier)[hops * HOP :] - through(denoiser(RATE_HZ, 1), samples)
    assert np.std(difference[10 * RATE_HZ :]) < 1e-3 * np.std(samples[10 * RATE_HZ :])


@both
def test_there_is_no_delay(denoiser: type[OmLsa | LogMmse]) -> None:
    samples = _example("breakdown")[:, [1]]
    out = through(denoiser(RATE_HZ, 1), samples)
    spectrum = np.fft.rfft(samples[:, 0]).conj() * np.fft.rfft(out[:, 0])
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@pytest.mark.parametrize(("denoiser", "least_db"), [(OmLsa, 11.0), (LogMmse, 7.5)])
@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 48_000])
def test_steady_noise_goes_down_from_the_first_moment_and_stays_noise(
    denoiser: type[OmLsa | LogMmse], least_db: float, sample_rate_hz: int
) -> None:
    """At the begin as at the end; and no tones are left: the level of short parts varies little."""
    sound = noise(10 * sample_rate_hz, -40.0)[:, None]
    out = through(denoiser(sample_rate_hz, 1), sound)
    for part in (slice(0, sample_rate_hz // 2), slice(sample_rate_hz, None)):
        assert rms_db(out[part]) - rms_db(sound[part]) < -least_db
    levels_db = [rms_db(part) for part in np.split(out[sample_rate_hz:, 0], 90)]
    assert np.std(levels_db) < 1.0


@both
def test_the_first_word_is_heard(denoiser: type[OmLsa | LogMmse]) -> None:
    """A recording that begins in the middle of a word, in noise: it keeps its level."""
    speech = _example("parcel")[:, 0]
    begin = int(np.argmax(np.abs(speech) > 0.1))
    sound = speech[begin : begin + 6 * RATE_HZ] + noise(6 * RATE_HZ, -45.0)
    out = through(denoiser(RATE_HZ, 1), sound[:, None])[:, 0]
    word = slice(0, RATE_HZ // 4)
    assert rms_db(out[word]) > rms_db(sound[word]) - 1.0


@pytest.mark.parametrize(
    ("name", "channel"), [("breakdown", 1), ("router", 1), ("appointment", 0), ("hotel", 1)]
)
@both
def test_the_noise_of_a_call_goes_down_and_its_speech_stays(
    denoiser: type[OmLsa | LogMmse], name: str, channel: int
) -> None:
    """Of the frames of 20 ms, the loudest tenth keeps its level, the quietest fifth loses some."""
    samples = _example(name)[:, channel]
    out = through(denoiser(RATE_HZ, 1), samples[:, None])[:, 0]
    power, cleaned = (
        np.mean(x[: x.size // 160 * 160].reshape(-1, 160).astype(np.float64) ** 2, axis=1) + 1e-12
        for x in (samples, out)
    )
    changed_db = 10 * np.log10(cleaned / power)
    order = np.argsort(power)
    assert np.median(changed_db[order[-len(order) // 10 :]]) > -1.5
    assert np.median(changed_db[order[: len(order) // 5]]) < -6.0


@both
def test_speech_in_noise_comes_nearer_to_the_speech(denoiser: type[OmLsa | LogMmse]) -> None:
    speech = _example("parcel")[:, 0]
    level_db = rms_db(speech[np.abs(speech) > 0.01])
    for snr_db in (5, 10, 20):
        noisy = speech + noise(speech.size, level_db - snr_db)
        out = through(denoiser(RATE_HZ, 1), noisy[:, None])[:, 0]
        assert si_sdr_db(speech, out) > si_sdr_db(speech, noisy) + 2.0


@pytest.mark.parametrize(("denoiser", "least_db"), [(OmLsa, 35.0), (LogMmse, 30.0)])
def test_a_clean_channel_is_left_alone(denoiser: type[OmLsa | LogMmse], least_db: float) -> None:
    """Hiss 42 dB below the voice is none of the noise that is worth its price."""
    samples = _example("parcel")
    out = through(denoiser(RATE_HZ, 2), samples)
    assert si_sdr_db(samples[:, 0], out[:, 0]) > least_db


@both
def test_words_between_digital_silence_are_left_alone(denoiser: type[OmLsa | LogMmse]) -> None:
    """Nothing is heard between them, so nothing that is known of the line's noise could be taken away."""
    speech = _example("parcel")[:, 0].copy()
    parts = speech[: speech.size // 800 * 800].reshape(-1, 800)
    parts[np.abs(parts).max(axis=1) < 0.05] = 0.0
    out = through(denoiser(RATE_HZ, 1), speech[:, None])[:, 0]
    assert si_sdr_db(speech, out) > 20.0


@both
@pytest.mark.parametrize("kind", ["offset", "impulse", "square", "huge", "tiny", "not a number"])
def test_whatever_goes_in_finite_numbers_come_out(denoiser: type[OmLsa | LogMmse], kind: str) -> None:
    at = np.arange(30_000)
    sound = {
        "offset": np.full(at.size, 0.5),
        "impulse": np.where(at == 12_345, 1.0, 0.0),
        "square": np.where(at // 40 % 2, 1.0, -1.0),
        "huge": noise(at.size, 0.0) * 1e37,
        "tiny": noise(at.size, 0.0) * 1e-37,
        "not a number": np.where(at % 1_000, noise(at.size, -30.0), np.nan),
    }[kind].astype(np.float32)[:, None]
    out = through(denoiser(RATE_HZ, 1), sound)
    assert out.shape == sound.shape
    assert np.isfinite(out).all()
    if kind in ("offset", "impulse", "square"):
        assert np.abs(out).max() <= 1.3


@both
def test_a_lone_impulse_passes(denoiser: type[OmLsa | LogMmse]) -> None:
    sound = np.zeros((20_000, 1), dtype=np.float32)
    sound[9_999] = 1.0
    assert np.abs(through(denoiser(RATE_HZ, 1), sound) - sound).max() < 1e-5


@both
@settings(max_examples=10, deadline=None)
@given(gain_db=st.floats(-20.0, 5.0))
def test_the_level_of_a_recording_does_not_matter(denoiser: type[OmLsa | LogMmse], gain_db: float) -> None:
    """As much of everything is taken away from a louder recording."""
    samples, gain = _call(3.0)[:, [0]], np.float32(10 ** (gain_db / 20))
    difference = through(denoiser(RATE_HZ, 1), samples * gain) - gain * through(denoiser(RATE_HZ, 1), samples)
    assert np.sqrt(np.mean(difference**2)) < 1e-3 * np.sqrt(np.mean((samples * gain) ** 2))


@both
def test_a_deeper_floor_takes_more_and_less_is_enough_where_less_is_asked_for(
    denoiser: Callable[..., SpectralFilter],
) -> None:
    samples = _example("breakdown")[:, [1]]

    def level_db(**options: float) -> float:
        out = through(denoiser(RATE_HZ, 1, **options), samples)[:, 0]
        return float(np.percentile([rms_db(part) for part in np.array_split(out[3 * RATE_HZ :], 500)], 10))

    assert level_db(floor_db=-12.0) < level_db(floor_db=-6.0) - 2.0
    assert level_db(enough_db=15.0) > level_db(enough_db=40.0) + 2.0


@both
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_rate_hz": 7_999}, "sample_rate_hz"),
        ({"sample_rate_hz": 96_000}, "sample_rate_hz"),
        ({"floor_db": 1.0}, "floor_db"),
        ({"floor_db": -41.0}, "floor_db"),
        ({"enough_db": -1.0}, "enough_db"),
        ({"enough_db": float("nan")}, "enough_db"),
    ],
)
def test_what_is_out_of_range_is_refused(
    denoiser: Callable[..., SpectralFilter], options: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        denoiser(**{"sample_rate_hz": RATE_HZ, "channels": 1, **options})


def test_a_block_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        OmLsa(RATE_HZ, 2).push(np.zeros((10, 1), dtype=np.float32))
