"""Calls that do not match: everything at once, in the user's names."""

from __future__ import annotations

import pytest

from landbridge.passes.check_signatures import CheckSignatures
from landbridge.runtime.errors import SignatureError
from support.running_passes import assert_leaves
from support.small_programs import SmallProgram


def test_one_mistake_is_one_message_with_its_fix() -> None:
    program = SmallProgram(placed=False, names={"x": "images"})
    program.model("net", "atlas0", ["uint8"])
    program.output(program.call("y", "net", program.input("x")))
    with pytest.raises(SignatureError) as caught:
        CheckSignatures().run(program.module())
    assert str(caught.value) == (
        "small.onnx:y: net.blob, input 0 'in0': value 'images' is float32 [2, 3], expected uint8 [2, 3]\n"
        '  hint: images = lb.astype(images, "uint8")'
    )


def test_all_mistakes_are_reported_at_once() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["uint8", "float16"])
    program.model("other", "gpu0", ["int8"])
    x = program.input("x")
    program.output(program.call("y", "net", x, x))
    program.output(program.call("z", "other", x))
    program.output(program.call("w", "other", x, x))
    with pytest.raises(SignatureError) as caught:
        CheckSignatures().run(program.module())
    assert str(caught.value) == (
        "3 things that do not match the offline models' signatures:\n"
        "  1. small.onnx:y: net.blob, input 0 'in0': value 'x' is float32 [2, 3], expected uint8 [2, 3]\n"
        '     fix: x = lb.astype(x, "uint8")\n'
        "  2. small.onnx:z: other.blob, input 0 'in0': value 'x' is float32 [2, 3], expected int8 [2, 3]\n"
        '     fix: x = lb.astype(x, "int8")\n'
        "  3. small.onnx:w: other.blob, inputs: found 2: 'x', 'x', expected 1: 'in0' int8 [2, 3]\n"
        "     fix: pass one value for each input, in this order"
    )


def test_what_the_compiler_converts_by_itself_is_no_mistake() -> None:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["float16", "float32"])
    program.output(program.call("y", "net", program.input("x"), program.input("w", "uint8")))
    assert_leaves(CheckSignatures(), program.module())
