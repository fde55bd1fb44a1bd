"""The whole way with random models: regions on two Atlas devices (simulated) and OpenVINO, what is not native in ONNX Runtime.

Whatever is replaced, the artifact, saved and loaded again, gives what ONNX Runtime gives for the whole model. Integers and booleans
are equal. Floats may be off by `FINE`, which is the order of summation in float32, or by `COARSE` where a float16 is among what they
were computed from; relative to max(1, |y|), after up to 25 operators that may each make an error up to 30 times larger.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.ascend.make_om_operators import TRANSLATORS
from support.random_model import FLOATS, RandomModel
from support.random_onnx import Region, members, random_model, regions
from support.run_onnx import reference

FINE, COARSE = 1e-4, 3e-2

OPENVINO = frozenset(
    (
        *("Abs", "Add", "AveragePool", "Concat", "Conv", "Gemm", "MatMul", "MaxPool", "Mul", "Neg", "ReduceMax", "ReduceMean", "Relu"),
        *("Reshape", "Sigmoid", "Softmax", "Sub", "Tanh", "Transpose"),
    )
)
"""Operators that the test hands to OpenVINO."""

SEEDS = 16
MORE_SEEDS = 150


def _only_float32(model: RandomModel, proto: Any) -> bool:
    values = [model.values[name] for name in (*proto.input, *proto.output) if name in model.values]
    return not proto.domain and all(value.dtype == "float32" and value.shape[0] == model.batch for value in values)


def _chosen(model: RandomModel, seed: int) -> tuple[list[Region], list[Region]]:
    """Return up to two regions for Atlas and up to one for OpenVINO that have no node in common."""
    rng = random.Random(seed)
    atlas = regions(model, lambda proto: proto.op_type in TRANSLATORS and _only_float32(model, proto))
    atlas = rng.sample(atlas, min(rng.randint(0, 2), len(atlas)))
    taken = {name for region in atlas for name in members(model, region)}
    openvino = regions(model, lambda p: p.op_type in OPENVINO and p.name not in taken and _only_float32(model, p))
    return atlas, rng.sample(openvino, min(1, len(openvino)))


def _program(model: RandomModel, proto: Any, seed: int, half: bool) -> Any:
    atlas, openvino = _chosen(model, seed)
    program = lb.from_onnx(proto)
    for ordinal, region in enumerate(atlas):
        part = lb.split(proto, inputs=region.inputs, outputs=region.outputs)
        blob = make_om(part, gears=(1, 2, 4) if model.dynamic else (), fp16=half, input_dtype="float16" if half else None)
        by = lb.ExternModel.from_bytes(blob, name=f"part{ordinal}.om")
        program = lb.replace(program, inputs=region.inputs, outputs=region.outputs, by=by, device=f"atlas{ordinal}")
    for region in openvino:
        program = lb.offload(program, "openvino0", inputs=region.inputs, outputs=region.outputs)
    return program


def _compare(model: RandomModel, proto: Any, session: Any, rows: int, half: bool) -> None:
    feeds = model.feeds(rows)
    before = {name: array.copy() for name, array in feeds.items()}
    expected, found = reference(proto, feeds), session.run(feeds)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        value = model.values[name]
        if value.dtype in FLOATS:
            wide = array.astype(np.float64)
            error = np.abs(found[name] - wide) / np.maximum(1, np.abs(wide))
            assert error.max(initial=0) <= (COARSE if half or value.coarse else FINE), name
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    for name, array in before.items():
        np.testing.assert_array_equal(feeds[name], array, err_msg=f"the caller's {name}")


def _check(seed: int, folder: Path) -> lb.Compiled:
    """Compile, save, load and run the model of ``seed``: every second one of open batch, every third one without jumps."""
    half = seed % 6 == 0
    model = random_model(seed, dynamic=seed % 2 == 1, smooth=seed % 3 == 0)
    proto = model.proto()
    compiled = lb.compile(_program(model, proto, seed, half))
    assert compiled.report.minimum_copies == len(compiled.report.copies)
    with lb.load(compiled.save(folder / "model.lbr"), simulate=["atlas"]) as session:
        for rows in (0, 1, 3, 7) if model.dynamic else (2,):
            _compare(model, proto, session, rows, half)
    return compiled


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_model_gives_what_onnx_runtime_gives(seed: int, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    _check(seed, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + MORE_SEEDS, 10))
def test_more_random_models(first: int, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    for seed in range(first, first + 10):
        _check(seed, tmp_path)


def test_the_random_models_reach_what_they_are_for() -> None:
    models = [random_model(seed, dynamic=seed % 2 == 1, smooth=seed % 3 == 0) for seed in range(SEEDS)]
    chosen = [_chosen(model, seed) for seed, model in enumerate(models)]
    operators = Counter(proto.op_type for model in models for proto in model.nodes)
    assert len(operators) >= 40
    assert {value.dtype for model in models for value in model.values.values()} == {"float32", "float16", "int64", "uint8", "bool"}
    assert sum(len(atlas) for atlas, _ in chosen) >= 12
    assert sum(len(openvino) for _, openvino in chosen) >= 12
    assert any(len(region.outputs) > 1 for atlas, openvino in chosen for region in (*atlas, *openvino))
    assert any(name in model.inputs for model in models for name in model.outputs)
    assert any(proto.domain for model in models for proto in model.nodes)
