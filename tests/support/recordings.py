"""Recordings for the tests, made of numbers: telephone calls as the pipeline meets them, small and never alike."""

import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

SAMPLE_RATE_HZ = 8000
_SYLLABLES_PER_S = 4.0
_TURN_S = 1.2


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of a topic, as it goes over the wire."""

    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class TelephoneCall:
    """A call of two parties that take turns: stereo, mu-law in WAV, with steady noise below; made from its seed."""

    call_id: str
    seed: int
    frames: int
    tenant_id: str = "default"
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, str]:
        """Tenant, call and recording id."""
        return self.tenant_id, self.call_id, self.more.get("recording_id", self.call_id)

    def samples(self) -> NDArray[np.float32]:
        """The sound, shape (frames, 2), full scale +-1.0."""
        generator = np.random.default_rng(self.seed)
        levels = generator.uniform(0.02, 0.12, size=2)
        time_s = np.arange(self.frames) / SAMPLE_RATE_HZ
        turn = (time_s / _TURN_S + generator.uniform()) % 2.0 < 1.0
        parties = [_speech(generator, time_s) * level for level in levels]
        # Far enough below the speech that no silence lies at loudness's relative gate, 10 LU below the mean: there a
        # hair's breadth decides whether it counts, and two sound meters may differ by 1 LU.
        noise = generator.normal(size=(self.frames, 2)) * levels * generator.uniform(0.015, 0.06, size=2)
        sound = np.stack([parties[0] * turn, parties[1] * ~turn], axis=1) + noise
        return np.clip(sound, -1.0, 1.0).astype(np.float32)

    def wav(self) -> bytes:
        """The file."""
        file = io.BytesIO()
        soundfile.write(file, self.samples(), SAMPLE_RATE_HZ, format="WAV", subtype="ULAW")
        return file.getvalue()

    def recorded(self, url: str) -> Record:
        """Its ``call.recorded``, as bare JSON."""
        event = {
            "schema_version": 1,
            "tenant_id": self.tenant_id,
            "call_id": self.call_id,
            "recording": {"url": url},
            "channels": [{"role": "agent"}, {"role": "customer"}],
            **self.more,
        }
        return Record(value=json.dumps(event).encode())


def telephone_calls(count: int, *, prefix: str, seed: int = 1) -> list[TelephoneCall]:
    """Calls of 2 to 4 s, each with another content and another length."""
    generator = np.random.default_rng(seed)
    frames = generator.choice(np.arange(2 * SAMPLE_RATE_HZ, 4 * SAMPLE_RATE_HZ), size=count, replace=False)
    return [
        TelephoneCall(call_id=f"{prefix}-{number:03}", seed=seed * 10_000 + number, frames=int(length))
        for number, length in enumerate(frames)
    ]


def _speech(generator: np.random.Generator, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise with the long-term slope of speech, in syllables; RMS about 1 while it lasts."""
    shaped = lfilter([1.0, -0.95], [1.0, -1.6, 0.8], generator.normal(size=time_s.size))
    phase = generator.uniform(0.0, 2 * np.pi)
    syllables = np.sin(2 * np.pi * _SYLLABLES_PER_S * time_s + phase).clip(0.0) ** 0.5
    voiced: NDArray[np.float64] = shaped / shaped.std() * syllables
    return voiced
