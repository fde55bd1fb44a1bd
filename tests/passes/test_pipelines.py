"""Placement from end to end."""

from __future__ import annotations

import time

import pytest
import tvm

from landbridge.ir.body import Body, is_cast, is_copy
from landbridge.ir.devices import device_of
from landbridge.ir.program import Program
from landbridge.passes import parse, place, place_program
from landbridge.passes.base import Pass, Pipeline
from landbridge.passes.pipelines import PLACE_AUTO, PLACE_STRICT
from landbridge.runtime.errors import PlacementError, SignatureError, UsageError
from support.random_programs import random_program
from support.small_programs import SmallProgram, names_in


def relu_offline_relu(*, with_copies: bool) -> SmallProgram:
    program = SmallProgram(placed=False)
    program.model("backbone", "atlas0")
    relu = program.relu("relu", program.input("x"))
    features = program.call("features", "backbone", program.copy("there", relu, "atlas0") if with_copies else relu)
    program.output(program.relu("relu1", program.copy("back", features, "cpu") if with_copies else features))
    return program


def copies_in(module: tvm.IRModule) -> list[str]:
    return [f"{b.var.name}: {b.var.ty.dtype} to {device_of(b.var)}" for b in Body.of(module).bindings if is_copy(b.value)]


def test_an_offline_model_between_operators_takes_two_copies() -> None:
    placed = place(relu_offline_relu(with_copies=False).module())
    assert names_in(placed) == ["relu", "relu__atlas0", "features", "features__cpu", "relu1"]
    assert copies_in(placed) == ["relu__atlas0: float32 to atlas0", "features__cpu: float32 to cpu"]


def test_strict_mode_names_both_and_accepts_the_program_that_has_them() -> None:
    with pytest.raises(PlacementError, match="2 places") as caught:
        place(relu_offline_relu(with_copies=False).module(), mode="strict")
    assert 'relu = lb.copy(relu, "atlas0")' in caught.value.message
    assert 'features = lb.copy(features, "cpu")' in caught.value.message
    written = relu_offline_relu(with_copies=True).module()
    placed = place(written, mode="strict")
    assert names_in(placed) == names_in(written)
    assert place(placed, mode="strict") is placed
    assert copies_in(place(written)) == copies_in(placed), "auto mode keeps what the user wrote"


def test_a_float16_model_gets_half_the_bytes_and_is_widened_behind_the_copy_out() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["float16"], ["float16"])
    y = program.call("y", "net", program.copy("mine", program.input("x"), "atlas0"))
    program.output(program.cast("wide", y, "float32"))
    placed = place(program.module())
    assert names_in(placed) == ["mine__float16", "mine__float16__atlas0", "y", "y__cpu", "wide"]
    assert copies_in(placed) == ["mine__float16__atlas0: float16 to atlas0", "y__cpu: float16 to cpu"]


def test_a_cast_there_and_back_between_two_models_of_a_device_costs_nothing() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["float16"], ["float16"])
    y = program.call("y", "net", program.input("x", "float16", device="atlas0"))
    program.output(program.call("z", "net", program.cast("wide", y, "float32")), device="atlas0")
    placed = place(program.module())
    assert names_in(placed) == ["y", "z"]


def test_a_cast_between_two_models_of_a_device_goes_out_and_in_once() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["float32"], ["float32"])
    y = program.call("y", "net", program.input("x", device="atlas0"))
    whole = program.cast("whole", y, "int32")
    program.output(program.call("z", "net", program.cast("real", whole, "float32")), device="atlas0")
    placed = place(program.module())
    assert names_in(placed) == ["y", "y__cpu", "whole", "real", "real__atlas0", "z"]


def test_a_value_needed_in_two_types_on_a_device_crosses_once_in_each() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["float32", "float16", "float16"])
    x = program.input("x")
    program.output(program.call("y", "net", x, x, x), device="atlas0")
    assert copies_in(place(program.module())) == ["x__atlas0: float32 to atlas0", "x__float16__atlas0: float16 to atlas0"]


def test_an_input_on_a_device_that_only_the_cpu_reads_is_copied_out_once() -> None:
    program = SmallProgram(placed=False)
    x = program.input("x", device="gpu1")
    program.output(program.add("y", program.relu("r", x), x))
    program.output(x)
    assert copies_in(place(program.module())) == ["x__cpu: float32 to cpu"]


def test_an_unread_offline_model_is_gone_and_crosses_nothing() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0")
    x = program.input("x")
    program.call("unread", "net", x)
    program.output(x)
    assert names_in(place(program.module())) == []


def test_a_wrong_call_is_reported_before_anything_else_in_both_modes() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["uint8"])
    program.output(program.call("y", "net", program.input("x")))
    for mode in ("auto", "strict"):
        with pytest.raises(SignatureError):
            place(program.module(), mode=mode)


@pytest.mark.parametrize("seed", range(5))
def test_what_auto_mode_makes_strict_mode_accepts(seed: int) -> None:
    placed = place(random_program(seed).module)
    assert place(placed, mode="strict") is placed
    assert place(placed) is placed


def test_a_program_keeps_all_but_its_module() -> None:
    program = Program(relu_offline_relu(with_copies=False).module(), source=b"onnx")
    placed = place_program(program)
    assert placed.source == b"onnx"
    assert place_program(placed) is placed


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        place(relu_offline_relu(with_copies=True).module(), mode="lenient")
    assert str(caught.value) == "unknown mode 'lenient'\n  hint: modes: auto, strict"


@pytest.mark.parametrize("steps", [PLACE_AUTO, PLACE_STRICT], ids=["auto", "strict"])
def test_the_text_of_a_pipeline_parses_back(steps: tuple[Pass, ...]) -> None:
    assert parse(str(Pipeline(steps))).passes == steps


def test_the_order_of_placement() -> None:
    assert str(Pipeline(PLACE_AUTO)) == (
        "check-signatures,flatten-tuples,infer-devices,drop-idle-copies,convert-dtypes,convert-layouts,hoist-casts,"
        "insert-copies,elide-casts,remove-dead,elide-copies"
    )
    assert str(Pipeline(PLACE_STRICT)) == "check-signatures,flatten-tuples,infer-devices,drop-idle-copies,check-placement"


def test_time_grows_with_the_program_and_no_faster() -> None:
    """Four times the operators in less than nine times the time: a quadratic step would take sixteen."""

    def seconds(operators: int) -> float:
        program = SmallProgram(placed=False)
        program.model("net", "atlas0", ["float16"])
        value = program.input("x")
        for index in range(operators):
            value = program.call(f"v{index}", "net", value) if index % 10 == 0 else program.relu(f"v{index}", value)
        program.output(value)
        module = program.module()
        started = time.process_time()
        placed = place(module)
        elapsed = time.process_time() - started
        assert sum(is_cast(binding.value) for binding in Body.of(placed).bindings) == operators // 10
        return elapsed

    assert seconds(2400) < 9 * max(seconds(600), 0.05)
