"""Simulated Cambricon models: what is in them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.driver import TensorRef
from landbridge.runtime.errors import ModelError, UnsupportedError, UsageError
from landbridge.runtime.signature import Port
from landbridge.runtime.vendors import registry
from landbridge.simulators.cambricon.__main__ import main
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.cambricon_device import device
from support.run_om import run_onnx
from support.small_onnx import node, small_model

VENDOR = registry.vendor("cambricon")


def two_ways(*batch: int | str) -> Any:
    """A convolution and a mean over its image; the first result is also read by the second, the second input by nothing else."""
    weights = np.random.default_rng(3).standard_normal((4, 2, 3, 3)).astype("float32") / 4
    return small_model(
        [
            node("Conv", "x w", "y", pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", "y", "m"),
            node("Flatten", "m", "f"),
            node("Add", "f b", "z"),
        ],
        {"x": ("float32", (*batch, 2, 5, 3)), "b": ("float32", (4,))},
        {"y": ("float32", (*batch, 4, 5, 3)), "z": ("float32", (*batch, 4))},
        {"w": weights},
    )


def test_images_are_nhwc_and_the_rest_is_as_it_was() -> None:
    signature = VENDOR.read_signature(make_cambricon(two_ways(2), input_dtype="float16"), {})
    assert signature.inputs == (Port("x", "float16", (2, 5, 3, 2), "NHWC"), Port("b", "float16", (4,)))
    assert signature.outputs == (Port("y", "float32", (2, 5, 3, 4), "NHWC"), Port("z", "float32", (2, 4)))
    assert signature.versions == {"core": "MLU270"}


def test_it_computes_what_the_onnx_model_does() -> None:
    model = two_ways("n")
    blob, options = make_cambricon(model, tensor_dim_mutable=True), {"tensor_dim_mutable": "true"}
    rng = np.random.default_rng(1)
    x, b = rng.standard_normal((3, 2, 5, 3)).astype("float32"), rng.standard_normal(4).astype("float32")
    y, z = run_onnx(model, {"x": x, "b": b})
    with device() as on:
        loaded = on.driver.load(blob, VENDOR.read_signature(blob, options), options)
        outputs: list[TensorRef] = [on.empty("float32", (3, 5, 3, 4)), on.empty("float32", (3, 4))]
        loaded.prepare([on.put(x.transpose(0, 2, 3, 1)), on.put(b)], outputs)()
        np.testing.assert_allclose(on.get(outputs[0]), y.transpose(0, 2, 3, 1), rtol=2e-3, atol=2e-3)  # float16 inside
        np.testing.assert_allclose(on.get(outputs[1]), z, rtol=2e-3, atol=2e-3)
        loaded.close()


def test_the_same_model_gives_the_same_bytes() -> None:
    assert make_cambricon(two_ways(2)) == make_cambricon(two_ways(2).SerializeToString())


def test_quantised_ports_are_int8_to_the_caller() -> None:
    model = small_model([node("Cast", "x", "y", to=1)], {"x": ("int8", (2, 3))}, {"y": ("float32", (2, 3))})
    plain, quantised = make_cambricon(model), make_cambricon(model, quantised=["x"])
    assert (plain.count(b"\x21\x00\x00\x00"), quantised.count(b"\x51\x00\x00\x00")) == (1, 1)
    assert VENDOR.read_signature(quantised, {}) == VENDOR.read_signature(plain, {})


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="quantised: x, expected names of int8 inputs or outputs"):
        make_cambricon(two_ways(2), quantised=["x"])
    with pytest.raises(UsageError, match="unknown core 'MLU9000'"):
        make_cambricon(two_ways(2), core="MLU9000")
    with pytest.raises(ModelError, match="not an ONNX model"):
        make_cambricon(b"nothing")
    strange = small_model([node("Det", "x", "y")], {"x": ("float32", (2, 2))}, {"y": ("float32", ())})
    with pytest.raises(UnsupportedError, match=r"operators that cannot be translated: det_y \(Det\)"):
        make_cambricon(strange)


def test_what_it_says_of_itself() -> None:
    blob = make_cambricon({"a": two_ways(1), "b": two_ways(2)}, core="MLU290")
    assert VENDOR.recognises(blob)
    assert VENDOR.describe(blob) == [("format", "simulated, version 1: no device runs it"), ("core", "MLU290"), ("functions", "2")]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = tmp_path / "in.onnx", tmp_path / "out.cambricon"
    source.write_bytes(two_ways("n").SerializeToString())
    assert main([str(source), "-o", str(made), "--size", "n=2", "--symbol", "main", "--core", "MLU220", "--input-dtype", "float16"]) == 0
    assert made.read_bytes() == make_cambricon({"main": two_ways("n")}, sizes={"n": 2}, core="MLU220", input_dtype="float16")
    assert capsys.readouterr().out == f"{made}: {made.stat().st_size} bytes, for the simulator only\n"
    assert main([str(tmp_path / "none.onnx"), "-o", str(made)]) == 1
    assert "cannot read the model: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(source), "-o", str(made), "--size", "n:2"])
    assert "'n:2' is not of the form h=32" in capsys.readouterr().err
