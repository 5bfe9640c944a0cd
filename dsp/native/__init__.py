"""The kernels: C beside this file, built when the project is installed, loaded by ctypes.

C where a sample at a time is what the algorithm is, and where numpy would carry every intermediate through memory.
See docs/decisions/kernels.md. Each function is declared to ctypes in the module that calls it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray


@cache
def library() -> ctypes.CDLL:
    """The kernels' shared library.

    Raises
    ------
    ImportError
        It was not built.
    """
    found = find_spec("dsp.native._kernels")
    if found is None or found.origin is None:
        raise ImportError(
            "The kernels in dsp/native are not built: run `make venv`, or `pip install` the project."
        )
    return ctypes.CDLL(found.origin)


def pointer(array: NDArray[Any], element: int = 0) -> int:
    """Address of an element of an array by its place in memory; the caller keeps the array alive."""
    return int(array.ctypes.data) + element * array.itemsize
