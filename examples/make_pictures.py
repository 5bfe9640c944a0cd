"""Draw example calls before and after cleaning: spectrograms on one scale, and how the level goes.

    python examples/make_pictures.py [FOLDER]

The pictures go into docs/pictures/ unless a folder is named. The same versions of numpy, Pillow and matplotlib (which
noisereduce brings) give the same bytes each time.
"""

import io
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from PIL import Image

# Run as a file, the folder above this one is not where Python looks.
sys.path.insert(0, str(Path(__file__).parents[1]))

from dsp import ChannelInfo, CleanReport, Source, clean
from dsp.chain_file import shipped_chain_file

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parent / "docs" / "pictures"
CALLS: Final = {
    "appointment": "appointment.wav: a fan beside the customer",
    "router": "router.wav: the customer's handset hums",
}
"""The examples that are drawn, and what each title says."""

WINDOW_FRAMES: Final = 256
HOP_FRAMES: Final = 32
COLUMNS: Final = 500
"""Of a spectrogram; each is the mean power of what falls into it."""
LEVEL_S: Final = 0.1
DARKEST_DB, BRIGHTEST_DB = -75.0, -5.0
"""Of a spectrogram, over a sine as loud as the channel."""
SHADES: Final = 56
LEVELS_DBFS: Final = (-70.0, 0.0)
BEFORE_COLOUR, AFTER_COLOUR = "#7b8794", "#c2410c"
INK, FAINT = "#1f2933", "#cbd2d9"
INCHES: Final = (12.4, 8.6)
COLOURS_KEPT: Final = 128
MINUS: Final = "\N{MINUS SIGN}"

STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Sound:
    """A recording in memory."""

    samples: NDArray[np.float64]
    """Shape (frames, channels)."""
    rate_hz: int

    @classmethod
    def read(cls, path: Path) -> "Sound":
        """Read a file."""
        samples, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
        return cls(samples, rate_hz)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate_hz

    def spectrogram_dbfs(self, channel: int) -> NDArray[np.float64]:
        """Power by frequency and time; a sine of full scale has 0 dB. Shape (frequencies, `COLUMNS`)."""
        padded = np.pad(self.samples[:, channel], WINDOW_FRAMES // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_FRAMES)[::HOP_FRAMES]
        taper = np.hanning(WINDOW_FRAMES)
        power = np.abs(np.fft.rfft(windows * taper, axis=1) * 2 / taper.sum()) ** 2
        starts = np.arange(COLUMNS) * len(power) // COLUMNS
        means = np.add.reduceat(power, starts) / np.diff(starts, append=len(power))[:, None]
        return np.asarray(10 * np.log10(means.T + 1e-15))

    def levels_dbfs(self, channel: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """RMS of stretches of 100 ms; the middle of each in seconds, and its level."""
        frames = round(LEVEL_S * self.rate_hz)
        whole = len(self.samples) // frames * frames
        power = np.square(self.samples[:whole, channel].reshape(-1, frames)).mean(axis=1)
        return np.asarray((np.arange(len(power)) + 0.5) * LEVEL_S), np.asarray(10 * np.log10(power + 1e-15))


def draw(before: Sound, after: Sound, report: CleanReport, title: str) -> Figure:
    """Draw a call: a column a channel, before above after above the levels."""
    channels = before.samples.shape[1]
    figure = Figure(figsize=INCHES)
    grid = figure.subplots(3, channels, sharex=True, sharey="row", squeeze=False, height_ratios=(1, 1, 0.8))
    figure.subplots_adjust(left=0.06, right=0.905, top=0.878, bottom=0.063, hspace=0.1, wspace=0.04)
    figure.text(0.06, 0.958, title, fontsize=15, fontweight="bold")
    for channel in range(channels):
        above, below, levels = grid[:, channel]
        above.set_title(_told(report, channel), fontsize=10.5, loc="left", pad=9, linespacing=1.5)
        was, became = report.before.channels[channel], report.renditions[0].after.channels[channel]
        _spectrogram(above, before, channel, "before", was.integrated_lufs)
        image = _spectrogram(below, after, channel, "after", became.integrated_lufs)
        _levels(levels, before, after, channel)
    for axes, label in zip(grid[:, 0], ("kHz", "kHz", "level over 100 ms, dBFS"), strict=True):
        axes.set_ylabel(label)
    grid[2, 0].legend(loc="lower left", ncols=2, frameon=False, fontsize=9.5, handlelength=1.6)
    for axes in grid[2]:
        axes.set_xlabel("seconds")
    _scale(figure, image, grid[0, -1], grid[1, -1])
    return figure


def _told(report: CleanReport, channel: int) -> str:
    was, became = report.before.channels[channel], report.renditions[0].after.channels[channel]
    denoised = "RNNoise" if became.denoise.applied else "not denoised"
    return (
        f"{was.role} (channel {channel}): {denoised}\n"
        f"{_change(was.integrated_lufs, became.integrated_lufs, 'LUFS')},  "
        f"SNR {_change(was.snr_db, became.snr_db, 'dB')}"
    )


def _change(before: float | None, after: float | None, unit: str) -> str:
    return (
        " → ".join("none" if value is None else f"{value:.1f}" for value in (before, after)).replace(
            "-", MINUS
        )
        + f" {unit}"
    )


def _spectrogram(axes: Axes, sound: Sound, channel: int, name: str, lufs: float | None) -> AxesImage:
    image = axes.imshow(
        # As if both were equally loud: what is left of the noise can then be seen beside the voice.
        sound.spectrogram_dbfs(channel) - (lufs or 0.0),
        origin="lower",
        aspect="auto",
        extent=(0.0, sound.duration_s, 0.0, sound.rate_hz / 2_000),
        cmap=mpl.colormaps["magma"].resampled(SHADES),
        vmin=DARKEST_DB,
        vmax=BRIGHTEST_DB,
        interpolation="nearest",
    )
    axes.set_yticks(range(5))
    label = {"facecolor": "#000000", "alpha": 0.55, "edgecolor": "none", "boxstyle": "round,pad=0.35"}
    axes.text(
        0.012,
        0.955,
        name,
        transform=axes.transAxes,
        color="white",
        va="top",
        fontsize=10.5,
        fontweight="bold",
        bbox=label,
    )
    return image


def _levels(axes: Axes, before: Sound, after: Sound, channel: int) -> None:
    for sound, name, colour in ((before, "before", BEFORE_COLOUR), (after, "after", AFTER_COLOUR)):
        axes.plot(*sound.levels_dbfs(channel), color=colour, linewidth=1.3, label=name)
    axes.set_xlim(0.0, before.duration_s)
    axes.set_ylim(*LEVELS_DBFS)
    axes.set_yticks(range(-60, 1, 20))
    axes.xaxis.set_major_locator(MultipleLocator(5))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _scale(figure: Figure, image: AxesImage, top: Axes, bottom: Axes) -> None:
    low, high = bottom.get_position(), top.get_position()
    bar = figure.colorbar(image, cax=figure.add_axes((high.x1 + 0.015, low.y0, 0.013, high.y1 - low.y0)))
    bar.set_label("dB over the channel's loudness")
    bar.outline.set_visible(False)


def write(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette: a third of the size, and nothing in it but the picture."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    picture = Image.open(drawn).convert("RGB").quantize(COLOURS_KEPT, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


def main() -> None:
    """Clean the calls as the shipped chain does, and draw them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update(STYLE)
    events = {call["file"]: call["event"] for call in json.loads((HERE / "calls.json").read_text())}
    chain = shipped_chain_file().resolve(named_roles=True).only(["listen"])
    for name, title in CALLS.items():
        recording = HERE / f"{name}.wav"
        roles = tuple(ChannelInfo(**channel) for channel in events[recording.name]["channels"])
        with tempfile.TemporaryDirectory() as cleaned:
            report = clean(Source(recording, channels=roles), chain, Path(cleaned))
            after = Sound.read(Path(report.renditions[0].path))
        figure = draw(Sound.read(recording), after, report, title)
        write(figure, folder / f"{name}.png")


if __name__ == "__main__":
    main()
