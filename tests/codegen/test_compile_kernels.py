from __future__ import annotations

import importlib
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te

import landbridge as lb
from landbridge.codegen.compile_kernels import compile_kernels
from landbridge.codegen.target import resolve_target
from landbridge.isolated import ISOLATE
from landbridge.runtime.artifact import HOST_LIBRARY
from landbridge.runtime.cache_folder import CACHE
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

compiling = importlib.import_module("landbridge.codegen.compile_kernels")
_random = np.random.default_rng(11)
_X = _random.standard_normal((2, 8, 12, 12)).astype("float32")
_WEIGHTS = {name: _random.standard_normal((8, 8, 3, 3)).astype("float32") for name in ("w0", "w1")}


def _model(weights: dict[str, Any], *, between: str = "") -> Any:
    nodes = [node("Conv", "x w0", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "b"), node("Conv", "b w1", "c", strides=[2, 2])]
    nodes += [node(between, "c", "m"), node("Softmax", "m", "y")] if between else [node("Softmax", "c", "y")]
    return small_model(nodes, {"x": ("float32", _X.shape)}, {"y": ("float32", None)}, weights)


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty cache; the list has the symbol of each kernel that is compiled."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(ISOLATE, "0")
    made: list[str] = []
    schedule = compiling._schedule

    def noted(function: Any, symbol: str, target: Any) -> Any:
        made.append(symbol)
        return schedule(function, symbol, target)

    monkeypatch.setattr(compiling, "_schedule", noted)
    return made


def test_another_constant_compiles_nothing_again(compiled: list[str]) -> None:
    lb.compile(lb.from_onnx(_model(_WEIGHTS)))
    assert len(compiled) == 3
    compiled.clear()
    other = {**_WEIGHTS, "w1": _WEIGHTS["w1"] + 1}
    artifact = lb.compile(lb.from_onnx(_model(other)))
    assert compiled == []
    with artifact.load() as session:
        assert_same(session.run({"x": _X}), reference(_model(other), {"x": _X}))


def test_another_operator_compiles_what_is_new(compiled: list[str]) -> None:
    lb.compile(lb.from_onnx(_model(_WEIGHTS)))
    compiled.clear()
    model = _model(_WEIGHTS, between="Tanh")
    artifact = lb.compile(lb.from_onnx(model))
    assert [symbol.rsplit("_", 1)[0] for symbol in compiled] == ["fused_conv2d_tir_tanh"]
    with artifact.load() as session:
        assert_same(session.run({"x": _X}), reference(model, {"x": _X}))


def test_another_target_is_another_object(compiled: list[str]) -> None:
    lb.compile(lb.from_onnx(_model(_WEIGHTS)))
    compiled.clear()
    lb.compile(lb.from_onnx(_model(_WEIGHTS)), target="llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3")
    assert len(compiled) == 3


def test_other_rules_are_other_objects(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lb.compile(lb.from_onnx(_model(_WEIGHTS)))
    compiled.clear()
    monkeypatch.setattr(compiling, "_tools", lambda: "rules of tomorrow")
    lb.compile(lb.from_onnx(_model(_WEIGHTS)))
    assert len(compiled) == 3


def test_the_library_is_the_same_with_and_without_a_cache(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = [lb.compile(lb.from_onnx(_model(_WEIGHTS))).artifact.sections[HOST_LIBRARY] for _ in range(2)]
    monkeypatch.setenv(CACHE, "")
    libraries.append(lb.compile(lb.from_onnx(_model(_WEIGHTS))).artifact.sections[HOST_LIBRARY])
    assert len({bytes(library) for library in libraries}) == 1
    assert len(compiled) == 6


def test_a_damaged_object_is_compiled_again(compiled: list[str], tmp_path: Path) -> None:
    before = lb.compile(lb.from_onnx(_model(_WEIGHTS))).to_bytes()
    compiled.clear()
    (victim, *_) = (tmp_path / "cache" / "kernels").glob("*softmax*.o")
    victim.write_bytes(victim.read_bytes()[:-100])
    assert lb.compile(lb.from_onnx(_model(_WEIGHTS))).to_bytes() == before
    assert compiled == [victim.stem]


def _compile_in_a_process(folder: str, weight: float) -> bytes:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(CACHE, folder)
        return bytes(
            lb.compile(lb.from_onnx(_model({**_WEIGHTS, "w0": np.full_like(_WEIGHTS["w0"], weight)}))).artifact.sections[HOST_LIBRARY]
        )


def test_processes_share_a_cache(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        libraries = pool.starmap(_compile_in_a_process, [(str(tmp_path), float(i)) for i in range(6)])
    assert len(set(libraries)) == 1
    assert all(file.suffix == ".o" for file in (tmp_path / "kernels").iterdir())


def _sum(*names: str) -> Any:
    left, right, result = names
    a, b = (te.placeholder((4,), "float32", name) for name in (left, right))
    return te.create_prim_func([a, b, te.compute((4,), lambda i: a[i] + b[i], result)])


def test_a_kernel_has_no_number_of_its_place_in_the_model() -> None:
    kernel = _sum("node12", "param_3", "lv")
    plain = compiling._with_plain_names(kernel)
    assert [str(param.name) for param in plain.params] == ["value0", "value1", "value2"]
    tvm.ir.assert_structural_equal(plain, kernel)
    assert [str(param.name) for param in compiling._with_plain_names(_sum("nodes", "params", "level")).params] == [
        "nodes",
        "params",
        "level",
    ]


def test_equal_kernels_are_one_object() -> None:
    kernels = tvm.IRModule({"add": _sum("node1", "node2", "T_add"), "add1": _sum("node7", "node1", "T_add")})
    found = compile_kernels(kernels, resolve_target().tvm)
    assert len(found.objects) == 1
    assert found.symbols["add"] == found.symbols["add1"]


def test_a_kernel_whose_schedule_tvm_fails_on_is_compiled_without() -> None:
    """TVM fails on joined loops over extents like these: ``(samples - 10) // 5 + 1``."""
    weights = {"w": _random.standard_normal((32, 1, 10)).astype("float32")}
    model = small_model(
        [node("Conv", "x w", "y", strides=[5])], {"x": ("float32", ("n", 1, "samples"))}, {"y": ("float32", ("n", 32, None))}, weights
    )
    compiled = lb.compile(lb.from_onnx(model))
    assert not compiled.report.fallbacks
    x = _random.standard_normal((2, 1, 47)).astype("float32")
    assert_same(compiled.load().run({"x": x}), reference(model, {"x": x}))


def test_no_kernels_are_no_objects() -> None:
    found = compile_kernels(tvm.IRModule(), resolve_target().tvm)
    assert (found.symbols, found.objects) == ({}, ())


def test_arrays_as_numpy_aligns_them_are_read_where_they_are(compiled: list[str]) -> None:
    model = small_model([node("Softmax", "x", "y")], {"x": ("float32", (3, 70))}, {"y": ("float32", None)})
    room = np.arange(400, dtype=np.float32)
    start = -room.ctypes.data // 4 % 16  # from here on addresses are multiples of 64
    with lb.compile(lb.from_onnx(model)).load() as session:
        for shift, is_read in ((0, True), (4, True), (8, True), (1, False)):
            x, y = room[start + shift :][:210].reshape(3, 70), np.zeros((3, 70), np.float32)
            bound = session.bind({"x": x}, {"y": y})
            assert bound._binding is not None
            assert (bound._binding.addresses[bound._binding.plan.inputs[0].buffer] == x.ctypes.data) == is_read
            bound()
            np.testing.assert_allclose(y, reference(model, {"x": x})["y"], rtol=1e-5)
