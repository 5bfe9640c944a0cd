"""The K filter of ITU-R BS.1770-5, annex 1, at any sample rate.

The standard gives coefficients for 48 kHz alone. Carried over by the bilinear transform they bend the high shelf by
0.55 dB at 8 kHz, and speech reads 0.2 LU loud. So the sections are fitted, in the least squares of dB, to the
magnitude of the 48 kHz filter from 10 Hz to 0.49 of the sample rate: within 0.023 dB at 8 kHz, better above.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Sections = NDArray[np.float64]
"""Second-order sections as scipy takes them, shape (2, 6)."""

_STANDARD_HZ: Final = 48_000
# Tables 1 and 2 of the standard.
_STANDARD: Final = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585),
    (1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621),
)
# What ``fitted`` gives, kept here so that no version of the solver decides about output.
_FITTED: Final = {
    48_000: _STANDARD,
    8_000: (  # within 0.0221 dB
        (1.479831216, -1.046362169, 0.335262476, 1.0, -0.469147804, 0.150647966),
        (0.864914731, -1.729829461, 0.864914731, 1.0, -1.941008151, 0.941878957),
    ),
    11_025: (  # within 0.0077 dB
        (1.365801179, -1.367663705, 0.465299532, 1.0, -0.788990195, 0.257292660),
        (0.993832495, -1.987664991, 0.993832495, 1.0, -1.957025601, 0.957487837),
    ),
    12_000: (  # within 0.0057 dB
        (1.324298825, -1.419764136, 0.492290775, 1.0, -0.869376059, 0.287551801),
        (1.038228424, -2.076456847, 1.038228424, 1.0, -1.960483419, 0.960874277),
    ),
    16_000: (  # within 0.0019 dB
        (1.448414916, -1.860689365, 0.689237830, 1.0, -1.117538665, 0.392966447),
        (0.984612632, -1.969225264, 0.984612632, 1.0, -1.970290009, 0.970510959),
    ),
    22_050: (  # within 0.0005 dB
        (1.480121234, -2.178367403, 0.863383079, 1.0, -1.342818493, 0.507785443),
        (0.993133332, -1.986266664, 0.993133332, 1.0, -1.978397864, 0.978514678),
    ),
    24_000: (  # within 0.0003 dB
        (1.487105318, -2.250222164, 0.906278868, 1.0, -1.393382361, 0.536529838),
        (0.994930393, -1.989860786, 0.994930393, 1.0, -1.980144333, 0.980243023),
    ),
    32_000: (  # within 0.0000 dB
        (1.510917115, -2.465998906, 1.042135142, 1.0, -1.539845421, 0.626894625),
        (0.997463859, -1.994927718, 0.997463859, 1.0, -1.985089745, 0.985145396),
    ),
    44_100: (  # within 0.0000 dB
        (1.530811373, -2.651082149, 1.169139177, 1.0, -1.663721320, 0.712589437),
        (0.999553412, -1.999106823, 0.999553412, 1.0, -1.989169683, 0.989199045),
    ),
}


@cache
def k_weighting(sample_rate_hz: int) -> Sections:
    """Second-order sections of the K filter, shape (2, 6), for a sample rate in Hz."""
    known = _FITTED.get(sample_rate_hz)
    return fitted(sample_rate_hz) if known is None else np.array(known)


def fitted(sample_rate_hz: int) -> Sections:
    """Fit the sections to the standard's magnitude response.

    The shelf is free but for its scale; the high-pass keeps its double zero at 0 Hz.
    """
    from scipy.optimize import least_squares  # noqa: PLC0415  (only for rates that nobody has foreseen)

    frequencies_hz = np.geomspace(10.0, 0.49 * min(sample_rate_hz, _STANDARD_HZ), 400)
    wanted_db = response_db(np.array(_STANDARD), frequencies_hz, _STANDARD_HZ)
    start = _as_free(_bilinear(sample_rate_hz))
    found = least_squares(
        lambda free: response_db(_as_sections(free), frequencies_hz, sample_rate_hz) - wanted_db,
        start,
        x_scale=np.maximum(np.abs(start), 1e-3),
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
        max_nfev=5000,
    )
    return _as_sections(found.x).round(9)


def response_db(
    sections: Sections, frequencies_hz: NDArray[np.float64], sample_rate_hz: int
) -> NDArray[np.float64]:
    """Magnitude response in dB at some frequencies in Hz."""
    from scipy.signal import freqz_sos  # noqa: PLC0415  (as above)

    response = freqz_sos(sections, frequencies_hz, fs=sample_rate_hz)[1]
    decibels: NDArray[np.float64] = 20 * np.log10(np.abs(response))
    return decibels


def _bilinear(sample_rate_hz: int) -> Sections:
    """The standard's filter through the analogue to another rate: near, and where the fit starts."""
    ratio = sample_rate_hz / _STANDARD_HZ
    sections = []
    for section in _STANDARD:
        polynomials = []
        for p0, p1, p2 in (section[:3], section[3:]):
            c0, c1, c2 = p0 + p1 + p2, 2 * (p0 - p2) * ratio, (p0 - p1 + p2) * ratio**2
            polynomials.append(np.array([c0 + c1 + c2, 2 * (c0 - c2), c0 - c1 + c2]))
        sections.append(np.concatenate(polynomials) / polynomials[1][0])
    return np.array(sections)


def _as_free(sections: Sections) -> NDArray[np.float64]:
    shelf, high_pass = sections
    return np.concatenate([shelf[:3], shelf[4:], high_pass[:1], high_pass[4:]])


def _as_sections(free: NDArray[np.float64]) -> Sections:
    b0, b1, b2, a1, a2, scale, d1, d2 = free
    return np.array([[b0, b1, b2, 1.0, a1, a2], [scale, -2 * scale, scale, 1.0, d1, d2]])
