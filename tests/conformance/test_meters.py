"""Our meters against others: libebur128 and pyloudnorm, on the example calls as they came and as they were cleaned.

8 kHz audio is brought to 48 kHz first, where the standard's coefficients hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyebur128
import pyloudnorm
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.signal import lfilter, resample, resample_poly

import dsp
from dsp import ChannelInfo, CleanReport, Source
from dsp.audio import Samples
from dsp.report import ChannelMeasurement, Programme
from tests.support.streams import energies, true_peak_dbtp

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.wav"))
PARTIES = (ChannelInfo("agent"), ChannelInfo("customer"))
REFERENCE_HZ = 48_000
TARGET_LUFS, CEILING_DBTP = -16.0, -1.5


@dataclass(frozen=True)
class Reference:
    """What libebur128 says."""

    integrated_lufs: float
    loudness_range_lu: float
    true_peak_dbtp: float


def _at_reference(samples: NDArray[np.float64], sample_rate_hz: int) -> NDArray[np.float64]:
    """The same sound at 48 kHz, shape (frames, channels), by its spectrum.

    A filter would let some of what lies just below half the rate through above it too, and make peaks of its own: up
    to 0.05 dB on these calls.
    """
    unit = sample_rate_hz // np.gcd(REFERENCE_HZ, sample_rate_hz)  # frames that are whole ones at 48 kHz
    frames = next_fast_len(-(-(len(samples) + sample_rate_hz // 10) // unit)) * unit
    followed_by_silence = np.concatenate([samples, np.zeros((frames - len(samples), samples.shape[1]))])
    resampled: NDArray[np.float64] = resample(
        followed_by_silence, frames * REFERENCE_HZ // sample_rate_hz, axis=0
    )
    return np.ascontiguousarray(resampled[: len(samples) * REFERENCE_HZ // sample_rate_hz])


def _libebur128(samples: NDArray[np.float64], sample_rate_hz: int) -> Reference:
    at_reference = _at_reference(samples, sample_rate_hz)
    channels = at_reference.shape[1]
    modes = pyebur128.MeasurementMode
    state = pyebur128.R128State(channels, REFERENCE_HZ, modes.MODE_I | modes.MODE_LRA | modes.MODE_TRUE_PEAK)
    state.add_frames(at_reference.ravel(), at_reference.shape[0])
    peak = max(pyebur128.get_true_peak(state, channel) for channel in range(channels))
    return Reference(
        pyebur128.get_loudness_global(state),
        pyebur128.get_loudness_range(state),
        float(20 * np.log10(peak)),
    )


def _read(path: str | Path) -> tuple[NDArray[np.float64], int]:
    samples, sample_rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
    return samples, sample_rate_hz


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda path: path.stem)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CleanReport:
    """One example call, cleaned with the shipped chain."""
    chain = dsp.shipped_chain_file().resolve(named_roles=True)
    return dsp.clean(Source(request.param, channels=PARTIES), chain, tmp_path_factory.mktemp("out"))


def _measured(report: CleanReport) -> Iterator[tuple[str, Programme, tuple[ChannelMeasurement, ...]]]:
    yield report.input.path, report.before.programme, report.before.channels
    for rendition in report.renditions:
        yield rendition.path, rendition.after.programme, rendition.after.channels


def _held(ours: Programme | ChannelMeasurement, reference: Reference) -> None:
    """Within 0.06 LU of loudness, 0.1 LU of range and 0.3 dB of true peak."""
    assert ours.integrated_lufs == pytest.approx(reference.integrated_lufs, abs=0.06)
    assert ours.loudness_range_lu == pytest.approx(reference.loudness_range_lu, abs=0.1)
    assert ours.true_peak_dbtp == pytest.approx(reference.true_peak_dbtp, abs=0.3)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 6


def test_statistics_are_those_of_libebur128(report: CleanReport) -> None:
    """Of each file, its programme and each channel as a mono programme, before and after."""
    for path, programme, channels in _measured(report):
        samples, sample_rate_hz = _read(path)
        _held(programme, _libebur128(samples, sample_rate_hz))
        for channel in channels:
            _held(channel, _libebur128(samples[:, [channel.index]], sample_rate_hz))


def test_outputs_are_at_the_target_and_under_the_ceiling_by_other_meters(report: CleanReport) -> None:
    """Each party within 0.06 LU of -16 LUFS, no peak more than 0.1 dB over -1.5 dBTP."""
    assert [warning.code for warning in report.warnings] == []
    for rendition in report.renditions:
        samples, sample_rate_hz = _read(rendition.path)
        for channel in range(2):
            reference = _libebur128(samples[:, [channel]], sample_rate_hz)
            assert reference.integrated_lufs == pytest.approx(TARGET_LUFS, abs=0.06)
            assert reference.true_peak_dbtp < CEILING_DBTP + 0.1


def test_loudness_is_that_of_pyloudnorm_at_48_khz(report: CleanReport) -> None:
    """A third meter, of other people; its own filters are right at 48 kHz."""
    samples, sample_rate_hz = _read(report.renditions[0].path)
    reference = pyloudnorm.Meter(REFERENCE_HZ).integrated_loudness(_at_reference(samples, sample_rate_hz))
    assert report.renditions[0].after.programme.integrated_lufs == pytest.approx(reference, abs=0.06)


RATES_HZ = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_every_rate_reads_the_same_sound_the_same(sample_rate_hz: int) -> None:
    """A call brought to each rate: against libebur128 on the same audio at 48 kHz."""
    samples, call_hz = _read(EXAMPLES[0])
    common = np.gcd(sample_rate_hz, call_hz)
    at_rate = resample_poly(samples, sample_rate_hz // common, call_hz // common, axis=0)
    reference = _libebur128(at_rate, sample_rate_hz)
    samples = at_rate.astype(np.float32)
    ours = energies(samples, sample_rate_hz).integrated_lufs()
    assert ours == pytest.approx(reference.integrated_lufs, abs=0.06)
    assert true_peak_dbtp(samples, sample_rate_hz) == pytest.approx(reference.true_peak_dbtp, abs=0.3)


def _brought_up(samples: NDArray[np.float64], sample_rate_hz: int, to_hz: int) -> Samples:
    """The same sound at a higher rate, by its spectrum: of whole seconds, shape (frames, channels)."""
    frames = len(samples) // sample_rate_hz * sample_rate_hz
    brought: Samples = resample(samples[:frames], frames * to_hz // sample_rate_hz, axis=0).astype(np.float32)
    return brought


def _reads_the_same(samples: NDArray[np.float64], sample_rate_hz: int, to_hz: int, within_lu: float) -> None:
    """Integrated and greatest loudness of each channel and of all are those of the same sound at 48 kHz."""
    ours, reference = (
        energies(_brought_up(samples, sample_rate_hz, rate_hz), rate_hz) for rate_hz in (to_hz, REFERENCE_HZ)
    )
    for channel in (None, *range(samples.shape[1])):
        found, expected = (sound.loudness(channel) for sound in (ours, reference))
        for name in ("integrated_lufs", "momentary_max_lufs", "short_term_max_lufs"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=within_lu), name


@pytest.mark.parametrize("to_hz", [8_000, 16_000])
@pytest.mark.parametrize("call", EXAMPLES, ids=lambda path: path.stem)
def test_telephone_rates_read_speech_as_48_khz_does(call: Path, to_hz: int) -> None:
    """Each call, and the same call at 48 kHz, by the same meter: within 0.005 LU; a bilinear filter is 0.2 off."""
    samples, call_hz = _read(call)
    _reads_the_same(samples, call_hz, to_hz, within_lu=0.005)


@pytest.mark.parametrize("slope", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000])
def test_telephone_rates_read_noise_as_48_khz_does(sample_rate_hz: int, slope: float) -> None:
    """Noise up to half the rate, white and with slopes to 6 dB an octave."""
    noise = np.random.default_rng(3).normal(0, 0.1, (20 * sample_rate_hz, 1))
    coloured = lfilter([1.0], [1.0, -slope], noise, axis=0)
    _reads_the_same(coloured, sample_rate_hz, sample_rate_hz, within_lu=0.005)
