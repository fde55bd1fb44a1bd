"""The check of native code while a program is compiled: what it finds, what becomes of it, what it costs the second time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

import landbridge as lb
from landbridge import apart
from landbridge.checking.regions import check_regions
from landbridge.codegen import compile_kernels, lower
from landbridge.codegen.schedules import schedule_kernels
from landbridge.codegen.simplify import simplify
from landbridge.frontends.onnx import build as importing
from landbridge.frontends.onnx import operators
from landbridge.frontends.onnx import support as rules
from landbridge.frontends.onnx.operators import RULES
from landbridge.frontends.replace import without_native
from landbridge.ir.body import Binding, Body, operator_name
from landbridge.ir.devices import VDevices
from landbridge.runtime.cache_folder import CACHE
from landbridge.runtime.errors import UnsupportedError, UsageError
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

RNG = np.random.default_rng(5)
FLOAT = "float32"


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path))
    return tmp_path


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def chain(*operators: str, shape: Any = (2, 3)) -> Any:
    names = ["x", *(f"v{index}" for index in range(1, len(operators))), "y"]
    nodes = [node(operator, names[index], names[index + 1]) for index, operator in enumerate(operators)]
    return small_model(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)})


def wrong_import(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``operator`` imported as a hyperbolic tangent."""
    monkeypatch.setitem(RULES, operator, lambda call: relax.op.tanh(call.tensor(0)))


@pytest.mark.parametrize("shape", [(2, 3), ("batch", 3)], ids=["static", "dynamic"])
def test_an_operator_with_wrong_native_code_runs_elsewhere_and_the_result_is_right(shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_import("Erf", monkeypatch)
    model = chain("Neg", "Erf", "Abs", shape=shape)
    compiled = lb.compile(lb.from_onnx(model))
    (fallback,) = compiled.report.fallbacks
    assert fallback.nodes == ("erf_v2 (Erf)",)
    assert fallback.reason.startswith("its native code differs from onnxruntime: 'v2' [0, 0]: ")
    assert (compiled.checked.against, compiled.checked.sets) == ("onnxruntime", 2)
    x = floats(2, 3)
    assert_same(compiled.load().run({"x": x}), reference(model, {"x": x}))


def test_without_the_check_the_wrong_code_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_import("Erf", monkeypatch)
    compiled = lb.compile(lb.from_onnx(chain("Erf")), check="off")
    assert not compiled.report.fallbacks
    assert not np.allclose(compiled.load()(np.ones((2, 3), np.float32))["y"], 0.8427, atol=1e-3)


def test_wrong_code_that_only_neighbours_bring_about_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operator alone is right here: a rewrite of two of them in a row is wrong."""

    def wrong(module: Any) -> Any:
        @relax.expr_functor.mutator
        class Rewrite(relax.expr_functor.PyExprMutator):  # type: ignore[misc]  # TVM is Any
            def visit_call_(self, call: Any) -> Any:
                operand = self.lookup_binding(call.args[0]) if call.op.name == "relax.negative" else None
                return relax.op.tanh(call.args[0]) if operand is not None else call

        rewrite = Rewrite(module)
        functions = {var: rewrite.visit_expr(f) if isinstance(f, relax.Function) else f for var, f in module.functions.items()}
        return simplify(tvm.IRModule(functions))

    monkeypatch.setattr(lower, "simplify", wrong)
    model = chain("Abs", "Neg")
    compiled = lb.compile(lb.from_onnx(model))
    (fallback,) = compiled.report.fallbacks
    assert fallback.nodes == ("abs_v1 (Abs)", "neg_y (Neg)")
    assert fallback.reason.endswith("though each operator alone gives the same")
    x = floats(2, 3)
    assert_same(compiled.load().run({"x": x}), reference(model, {"x": x}))


def test_a_resize_of_an_image_with_channels_last_is_never_silently_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM's importer takes its scales for those of other axes; what keeps it away or sees the shape is taken out here."""
    monkeypatch.delitem(rules.MISTAKEN, "Resize")
    monkeypatch.delitem(RULES, "Resize")
    monkeypatch.setattr(importing, "contradiction", lambda *_: "")
    scales = np.array([1, 0.5, 0.5, 1], np.float32)
    nodes = [node("Resize", "x _ scales", "y", mode="linear", coordinate_transformation_mode="half_pixel")]
    model = small_model(nodes, {"x": (FLOAT, (1, 8, 8, 4))}, {"y": (FLOAT, (1, 4, 4, 4))}, {"scales": scales})
    x = floats(1, 8, 8, 4)
    unchecked = lb.compile(lb.from_onnx(model), check="off")
    assert not unchecked.report.fallbacks
    assert unchecked.load().run({"x": x})["y"].shape == (1, 8, 4, 4)
    checked = lb.compile(lb.from_onnx(model))
    assert [fallback.nodes for fallback in checked.report.fallbacks] == [("resize_y (Resize)",)]
    assert_same(checked.load().run({"x": x}), reference(model, {"x": x}))


def test_a_region_after_an_offline_model_is_checked_with_no_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LANDBRIDGE_ISOLATE", "0")
    pytest.importorskip("openvino")
    wrong_import("Erf", monkeypatch)
    model = chain("Neg", "Relu", "Erf")
    program = lb.offload(lb.from_onnx(model), "openvino0", inputs=["v1"], outputs=["v2"])
    compiled = lb.compile(program)
    assert [fallback.nodes for fallback in compiled.report.fallbacks] == [("erf_y (Erf)",)]
    assert [copy.value for copy in compiled.report.copies] == ["v1", "v2"], "the replaced region is still replaced"
    x = floats(2, 3)
    assert_same(compiled.load().run({"x": x}), reference(model, {"x": x}))
    assert "replayed" not in caplog.text, "what stands in for the device is nothing to tell the user of"


def test_a_wrong_operator_that_must_be_native_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_import("Erf", monkeypatch)
    with pytest.raises(UnsupportedError, match=r"cannot be native:\n  erf_y \(Erf\): its native code differs from onnxruntime"):
        lb.compile(lb.from_onnx(chain("Erf"), fallback=False))


def test_full_finds_an_operator_whose_error_does_not_reach_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_import("Erf", monkeypatch)
    nodes = [node("Erf", "x", "a"), node("Mul", "a nothing", "b"), node("Add", "b x", "y")]
    model = small_model(nodes, {"x": (FLOAT, (2, 3))}, {"y": (FLOAT, (2, 3))}, {"nothing": np.zeros((), np.float32)})
    assert not lb.compile(lb.from_onnx(model), check="fast").report.fallbacks
    (fallback,) = lb.compile(lb.from_onnx(model), check="full").report.fallbacks
    assert fallback.nodes == ("erf_a (Erf)",)


def test_a_result_that_turns_on_the_last_bits_is_no_reason() -> None:
    nodes = [node("Exp", "x", "a"), node("Mul", "a large", "b"), node("Sin", "b", "y")]
    model = small_model(nodes, {"x": (FLOAT, (4, 50))}, {"y": (FLOAT, (4, 50))}, {"large": np.array(1e7, np.float32)})
    compiled = lb.compile(lb.from_onnx(model))
    x = floats(4, 50)
    assert not np.allclose(compiled.load().run({"x": x})["y"], reference(model, {"x": x})["y"], atol=1e-3), "it does not turn on them"
    assert not compiled.report.fallbacks


def test_what_passed_is_not_checked_again(nothing_known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain("Neg", "Abs", shape=("n", 3))
    first = lb.compile(lb.from_onnx(model))
    monkeypatch.setattr(apart, "check_regions", lambda *_: pytest.fail("checked again"))
    again = lb.compile(lb.from_onnx(model))
    assert again.checked == first.checked
    assert again.to_bytes() == first.to_bytes()


def test_what_cannot_be_checked_says_why() -> None:
    class Net(lb.nn.Module):
        def forward(self, x: Any) -> Any:
            return lb.nn.relu(x)

    compiled = lb.compile(lb.from_module(Net(), {"x": lb.TensorSpec((1, 3), FLOAT)}))
    assert compiled.checked.note == "the program did not come from an ONNX model"
    with pytest.raises(UsageError, match="unknown check 'some'"):
        lb.compile(lb.from_onnx(chain("Neg")), check="some")  # type: ignore[arg-type]  # that is the test


def test_an_operator_that_crashes_the_compiler_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(kernels: Any, target: Any) -> Any:
        if any("erf" in var.name_hint for var in kernels.functions):
            os.kill(os.getpid(), signal.SIGSEGV)
        return schedule_kernels(kernels, target)

    monkeypatch.setattr(compile_kernels, "schedule_kernels", crashing)
    model = chain("Neg", "Erf", "Sqrt")
    (fallback,) = lb.compile(lb.from_onnx(model)).report.fallbacks
    assert (fallback.nodes, fallback.reason) == (("erf_v2 (Erf)",), "the compiler crashed with SIGSEGV on it")


def test_an_operator_on_which_the_code_generator_fails_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(kernels: Any, target: Any) -> Any:
        if any("erf" in var.name_hint for var in kernels.functions):
            raise RuntimeError("no rule for this")
        return schedule_kernels(kernels, target)

    monkeypatch.setattr(compile_kernels, "schedule_kernels", failing)
    (fallback,) = lb.compile(lb.from_onnx(chain("Neg", "Erf", "Sqrt"))).report.fallbacks
    assert (fallback.nodes, fallback.reason) == (("erf_v2 (Erf)",), "no native code: no rule for this")


def test_an_operator_that_tvm_imports_and_cannot_compile_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules that keep NonMaxSuppression away from the importer, and what would find it out there, are taken out here."""
    monkeypatch.delitem(rules.MISTAKEN, "NonMaxSuppression")
    monkeypatch.delitem(operators.RULES, "NonMaxSuppression")
    nodes = [node("NonMaxSuppression", "boxes scores most", "chosen"), node("Neg", "scores", "y")]
    model = small_model(
        nodes,
        {"boxes": (FLOAT, (1, 4, 4)), "scores": (FLOAT, (1, 1, 4))},
        {"chosen": ("int64", ("n", 3)), "y": (FLOAT, (1, 1, 4))},
        {"most": np.array([2])},
    )
    compiled = lb.compile(lb.from_onnx(model))
    (fallback,) = compiled.report.fallbacks
    assert fallback.nodes == ("nonmaxsuppression_chosen (NonMaxSuppression)",)
    assert "native code" in fallback.reason
    feeds = {"boxes": floats(1, 4, 4), "scores": floats(1, 1, 4)}
    assert_same(compiled.load().run(feeds), reference(model, feeds))


def test_native_code_that_crashes_does_not_take_the_process_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def crashing(*arguments: Any) -> Any:
        arguments[-1]("native code")
        os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(apart, "check_regions", lambda *a: check_regions(*a) if "fallback" in str(a[1].plan.steps) else crashing(*a))
    (fallback,) = lb.compile(lb.from_onnx(chain("Neg", "Abs"))).report.fallbacks
    assert fallback.reason == "native code of the model crashed with SIGSEGV on made-up inputs"


def test_importing_again_keeps_the_topology_and_what_was_refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_import("Erf", monkeypatch)
    wrong_import("Exp", monkeypatch)
    compiled = lb.compile(lb.from_onnx(chain("Erf", "Neg", "Exp")), topology=[("cpu", "atlas0")])
    assert [fallback.nodes for fallback in compiled.report.fallbacks] == [("erf_v1 (Erf)",), ("exp_y (Exp)",)]


def edited(program: lb.Program, old: str, new: Any) -> lb.Program:
    """Return a program with one operator replaced by hand, as a pass of a user's own might."""
    body = Body.of(program.module)
    bindings = tuple(Binding(b.var, new(b.value.args[0]) if operator_name(b.value) == old else b.value) for b in body.bindings)
    module = Body(body.params, bindings, body.outputs).write(program.module, VDevices(program.module))
    return program.with_module(module)


def test_what_was_edited_by_hand_stays_and_the_difference_is_told(caplog: pytest.LogCaptureFixture) -> None:
    program = edited(lb.from_onnx(chain("Neg", "Erf", "Abs")), "erf", relax.op.tanh)
    compiled = lb.compile(program)
    x = floats(2, 3)
    np.testing.assert_allclose(compiled.load().run({"x": x})["y"], np.abs(np.tanh(-x)), rtol=1e-5)
    assert not compiled.report.fallbacks
    assert compiled.checked.note.startswith(
        "the program was edited after it was imported, and is not what the model is: its native code differs"
    )
    assert compiled.checked.note in caplog.text


def test_an_edit_that_changes_nothing_passes_the_check() -> None:
    program = edited(lb.from_onnx(chain("Neg", "Erf", "Abs")), "negative", lambda x: relax.op.multiply(x, relax.const(-1.0, FLOAT)))
    assert lb.compile(program).checked == lb.compile(lb.from_onnx(chain("Neg", "Erf", "Abs"))).checked


def test_what_cannot_be_compiled_of_an_edited_program_is_an_error_and_no_edit_is_lost() -> None:
    program = edited(lb.from_onnx(chain("Neg", "Erf", "Abs")), "erf", relax.op.tanh)
    with pytest.raises(
        UnsupportedError, match="it was edited after it was imported, so nothing of it can go to a fallback: 'v2': too hard"
    ):
        without_native(program, {"v2": "too hard"})


def test_links_between_devices_and_replaced_regions_are_no_edits() -> None:
    program = lb.from_onnx(chain("Neg", "Erf", "Abs"))
    assert not program.annotated({"landbridge.topology": []}).edited
    blob = lb.ExternModel("atlas", b"blob", lb.Signature((lb.Port("i", FLOAT, (2, 3)),), (lb.Port("o", FLOAT, (2, 3)),)))
    assert not lb.replace(program, inputs=["v1"], outputs=["v2"], by=blob).edited
    assert lb.replace(edited(program, "abs", relax.op.negative), inputs=["v1"], outputs=["v2"], by=blob).edited
