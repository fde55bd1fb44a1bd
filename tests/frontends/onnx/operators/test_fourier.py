"""Fourier transforms, against NumPy's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import landbridge as lb
from support.run_operators import One, check
from support.small_onnx import node, small_model

RNG = np.random.default_rng(12)


def _parts(complex_: Any, dtype: str) -> Any:
    return np.stack([complex_.real, complex_.imag], -1).astype(dtype)


def _dft(name: str, parts: int, axis: int, length: int | None = None, dtype: str = "float32", **attributes: int) -> One:
    data = RNG.standard_normal((2, 12, 5, parts)).astype(dtype)
    signal = data[..., 0] + (1j * data[..., 1] if parts == 2 else 0)
    along = axis % 4
    transformed = (np.fft.ifft if attributes.get("inverse") else np.fft.fft)(signal.astype("complex128"), length, along)
    if attributes.get("onesided"):
        transformed = np.take(transformed, range(transformed.shape[along] // 2 + 1), along)
    inputs = [data, None if length is None else np.int64(length), np.int64(axis)]
    constants = [n for n in (1, 2) if inputs[n] is not None]
    return One(name, "DFT", inputs, [_parts(transformed, dtype)], constants=constants, attributes=attributes)


def test_transforms_along_every_axis() -> None:
    cases = [
        _dft("real", 1, 1),
        _dft("complex", 2, -2),
        _dft("first", 1, 0),
        _dft("onesided", 1, 2, onesided=1),
        _dft("inverse", 2, 1, inverse=1),
        _dft("longer", 2, 1, 16),
        _dft("shorter", 1, 1, 7, onesided=1),
        _dft("wide", 2, 1, dtype="float64"),
    ]
    check(cases, rtol=1e-5, atol=1e-5)


def _to_real(name: str, axis: int, length: int | None = None) -> One:
    """Return a transform of bins back to real numbers; the imaginary parts of the first and the middle one do not count."""
    data = RNG.standard_normal((2, 7, 6, 2)).astype("float32")
    expected = np.fft.irfft((data[..., 0] + 1j * data[..., 1]).astype("complex128"), length, axis % 4)[..., None].astype("float32")
    inputs = [data, None if length is None else np.int64(length), np.int64(axis)]
    constants = [n for n in (1, 2) if inputs[n] is not None]
    return One(name, "DFT", inputs, [expected], constants=constants, attributes={"inverse": 1, "onesided": 1})


def test_transforms_back_to_real_numbers() -> None:
    cases = [
        _to_real("as many", 1),
        _to_real("along another axis", -2),
        _to_real("odd", 1, 13),
        _to_real("shorter", 2, 8),
        _to_real("shorter and odd", 1, 5),
        _to_real("longer", 1, 20),
        _to_real("one", 2, 1),
    ]
    check(cases, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("windowed", [False, True])
def test_frames_of_signals_of_any_length(onesided: int, windowed: bool) -> None:
    length, step = 25, 7
    window = RNG.random(length).astype("float32") if windowed else np.ones(length, "float32")
    constants = {"step": np.array(step), "length": np.array(length), **({"window": window} if windowed else {})}
    nodes = [node("STFT", f"x step {'window' if windowed else '_'} length", "y", onesided=onesided)]
    bins = length // 2 + 1 if onesided else length
    model = small_model(nodes, {"x": ("float32", (2, "n", 1))}, {"y": ("float32", (2, "frames", bins, 2))}, constants)
    compiled = lb.compile(lb.from_onnx(model), check="off")
    assert not compiled.report.fallbacks
    with compiled.load() as session:
        for samples in (25, 31, 100):
            x = RNG.standard_normal((2, samples, 1)).astype("float32")
            frames = np.lib.stride_tricks.sliding_window_view(x[..., 0].astype("float64"), length, 1)[:, ::step] * window
            expected = _parts(np.fft.fft(frames)[..., :bins], "float32")
            np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-5, atol=2e-6 * length)
