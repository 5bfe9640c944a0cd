"""Levelling within a party: who turns away from the telephone, who shouts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dsp.audio import Samples
from dsp.passing import through
from dsp.speech import Decision
from dsp.stages.base import Context, Stage
from dsp.streams import Filter

Gains = NDArray[np.float64]
"""In dB, one for each cell of 100 ms."""

# A phrase has one level, and a word in it keeps its weight.
_PHRASE_S: Final = 3.0
_MOVES_S: Final = 0.6
# Shorter gaps than this are breath: the gain moves on through them. Longer ones are pauses, and it stays.
_BREATH_S: Final = 0.8
_FRAME_S: Final = 0.02
_CELL_FRAMES: Final = 5
_CELL_S: Final = _CELL_FRAMES * _FRAME_S
# Nobody speaks all phrases alike, and nobody should.
_LIVELY_DB: Final = 1.5
_LEAST_SPEECH_S: Final = 1.0
_NOT_HEARD_DB: Final = 0.1
_MOST: Final = 1e30


class Compress(Stage):
    """Bring the quiet and the loud phrases of each party nearer to that party's mean level.

    The gain follows the level of the speech alone, over three seconds, known before and after: it is there when the
    phrase begins, and nothing in it reacts to single sounds. What is within 1.5 dB of the mean is left so. In pauses
    it stays, at the lower of the gains before and after: noise is not pumped up between the words. A party that keeps
    its level passes bit for bit.
    """

    name: ClassVar[str] = "compress"

    max_boost_db: Annotated[float, Field(ge=0.0, le=20.0)] = 9.0
    """By how much a quiet phrase is raised at most, in dB, 0 to 20."""
    max_cut_db: Annotated[float, Field(ge=0.0, le=20.0)] = 9.0
    """By how much a loud phrase is lowered at most, in dB, 0 to 20."""
    share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """How much of a phrase's distance from the mean level is taken away, 0 to 1."""

    def open(self, context: Context) -> Filter:
        """Find each channel's gains, and begin with those that need any."""
        gains_db = {
            channel: gains
            for channel, decision in enumerate(context.decisions)
            if (gains := self._gains_db(decision)).size and np.abs(gains).max() >= _NOT_HEARD_DB
        }
        wanted = None
        if gains_db:
            cell = context.decisions[0].samples * _CELL_FRAMES
            wanted = _Levelled(list(gains_db.values()), cell)
        return through(wanted, list(gains_db), context.audio.channels)

    def _gains_db(self, decision: Decision) -> Gains:
        """Gain of each cell of a channel; empty where there is too little speech to tell its level."""
        if np.count_nonzero(decision.speech) * _FRAME_S < _LEAST_SPEECH_S:
            return np.empty(0)
        noise = decision.power[decision.noise]
        beneath = float(np.median(noise)) if noise.size else 0.0
        # Of what is left without the noise never less than a tenth: the noise is not known that well.
        power = np.maximum(decision.power - beneath, 0.1 * decision.power)
        spoken, energy = _cells(decision.speech), _cells(np.where(decision.speech, power, 0.0))
        speech = np.flatnonzero(spoken)
        phrase = round(_PHRASE_S / _CELL_S)
        level = _window_sums(energy, phrase)[speech] / _window_sums(spoken, phrase)[speech]
        off_db = 10 * np.log10(energy.sum() / spoken.sum() / np.maximum(level, 1e-20))
        wanted_db = self.share * np.sign(off_db) * np.maximum(np.abs(off_db) - _LIVELY_DB, 0.0)
        clipped_db = np.clip(wanted_db, -self.max_cut_db, self.max_boost_db)
        return _averaged(_held_in_pauses(clipped_db, speech, spoken.size), round(_MOVES_S / _CELL_S))


class _Levelled:
    """Applies gains that run on straight lines from the middle of one cell to the next."""

    def __init__(self, gains_db: list[Gains], cell: int) -> None:
        """Begin at the first frame, with gains for each channel and the frames of a cell."""
        self._gains: Final = [10 ** (gains / 20) for gains in gains_db]
        self._cell: Final = cell
        self._at = 0

    def push(self, block: Samples) -> Samples:
        """Level the next frames."""
        levelled: Samples = np.empty(block.shape, dtype=np.float32, order="F")
        places = (np.arange(self._at, self._at + len(block)) + 0.5) / self._cell - 0.5
        before = np.floor(places).astype(np.intp)
        share = places - before
        for channel, gains in enumerate(self._gains):
            left = gains[np.clip(before, 0, gains.size - 1)]
            right = gains[np.clip(before + 1, 0, gains.size - 1)]
            levelled[:, channel] = np.clip(block[:, channel], -_MOST, _MOST) * (left + (right - left) * share)
        self._at += len(block)
        return levelled

    def finish(self) -> Samples:
        """Give nothing: no frame was held back."""
        return np.empty((0, len(self._gains)), dtype=np.float32, order="F")


def _cells(values: NDArray[Any]) -> NDArray[np.float64]:
    """Add up five frames each; the last cell may be of fewer."""
    starts = np.arange(0, values.size, _CELL_FRAMES)
    sums: NDArray[np.float64] = np.add.reduceat(values, starts, dtype=np.float64)
    return sums


def _window_sums(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Sum of the values around each, ``width`` of them and fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(values.size)
    ends = np.minimum(places + width // 2 + 1, values.size)
    sums: NDArray[np.float64] = total[ends] - total[np.maximum(places - width // 2, 0)]
    return sums


def _averaged(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of the values around each."""
    return _window_sums(values, width) / _window_sums(np.ones(values.size), width)


def _held_in_pauses(
    gains_db: NDArray[np.float64], where: NDArray[np.intp], cells: int
) -> NDArray[np.float64]:
    """Spread gains from the cells with speech to all cells."""
    everywhere_db = np.interp(np.arange(cells), where, gains_db)
    for gap in np.flatnonzero(np.diff(where) > _BREATH_S / _CELL_S):
        everywhere_db[where[gap] + 1 : where[gap + 1]] = min(gains_db[gap], gains_db[gap + 1])
    return everywhere_db
