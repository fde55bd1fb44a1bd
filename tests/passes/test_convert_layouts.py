"""Permutations at image inputs of offline models."""

from __future__ import annotations

from typing import Any

import pytest
import tvm
from tvm import relax

from landbridge.ir.program import EXTERNS
from landbridge.passes.convert_layouts import ConvertLayouts
from landbridge.passes.pipelines import place
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PlacementError
from landbridge.runtime.signature import Aipp, Port, Signature
from support.running_passes import assert_leaves, assert_makes
from support.small_programs import SmallProgram, names_in

ATLAS = Device("atlas", 0)
NCHW, NHWC = (1, 3, 4, 6), (1, 4, 6, 3)
IMAGE = Port("in0", "uint8", NHWC, "NHWC", Aipp("static", "RGB888_U8"))


class Pictures(SmallProgram):
    """A program whose tensors have the shapes that are said."""

    def image_model(self, symbol: str, port: Port = IMAGE) -> None:
        self.model(symbol, "atlas0", ["uint8"], ["float32"])
        self.attributes[EXTERNS][symbol]["signature"]["inputs"] = Signature((port,), ()).to_json()["inputs"]

    def picture(self, name: str, shape: tuple[int, ...], device: str = "") -> Any:
        value = self.input(name, "uint8", device)
        vdevice = value.ty.vdevice
        self.params[-1] = relax.Var(name, relax.TensorType(shape, "uint8", vdevice))
        return self.params[-1]

    def turned(self, name: str, value: Any, axes: list[int]) -> Any:
        extents = [value.ty.shape.values[axis] for axis in axes]
        return self.bind(name, relax.op.permute_dims(value, axes), relax.TensorType(extents, "uint8", self._type("uint8", CPU).vdevice))


def test_an_nchw_value_is_permuted_once_for_all_that_take_it() -> None:
    before = Pictures(placed=True)
    before.image_model("net")
    before.image_model("other")
    x = before.picture("x", NCHW)
    before.output(before.call("y", "net", x), device="atlas0")
    before.output(before.call("z", "other", x), device="atlas0")

    expected = Pictures(placed=True)
    expected.image_model("net")
    expected.image_model("other")
    x = expected.turned("x__NHWC", expected.picture("x", NCHW), [0, 2, 3, 1])
    expected.output(expected.call("y", "net", x), device="atlas0")
    expected.output(expected.call("z", "other", x), device="atlas0")
    assert_makes(ConvertLayouts(), before.module(), expected.module())
    assert names_in(ConvertLayouts().run(before.module())) == ["x__NHWC", "y", "z"]


def test_what_the_program_permuted_from_nhwc_is_not_permuted_back() -> None:
    before = Pictures(placed=True)
    before.image_model("net")
    x = before.picture("x", NHWC)
    before.output(before.call("y", "net", before.turned("t", x, [0, 3, 1, 2])), device="atlas0")

    expected = Pictures(placed=True)
    expected.image_model("net")
    x = expected.picture("x", NHWC)
    expected.turned("t", x, [0, 3, 1, 2])
    expected.output(expected.call("y", "net", x), device="atlas0")
    assert_makes(ConvertLayouts(), before.module(), expected.module())


def test_another_permutation_of_the_programs_stays() -> None:
    program = Pictures(placed=True)
    program.image_model("net")
    x = program.picture("x", (1, 4, 3, 6))
    program.output(program.call("y", "net", program.turned("t", x, [0, 2, 1, 3])), device="atlas0")
    assert names_in(ConvertLayouts().run(program.module())) == ["t", "t__NHWC", "y"]


@pytest.mark.parametrize(("port", "shape"), [(IMAGE, NHWC), (Port("in0", "uint8", NCHW, "NCHW"), NCHW)])
def test_what_has_the_layout_already_is_left_alone(port: Port, shape: tuple[int, ...]) -> None:
    program = Pictures(placed=True)
    program.image_model("net", port)
    program.output(program.call("y", "net", program.picture("x", shape)), device="atlas0")
    assert_leaves(ConvertLayouts(), program.module())


def test_a_value_on_another_device_is_permuted_on_the_cpu() -> None:
    program = Pictures(placed=False)
    program.image_model("net")
    program.output(program.call("y", "net", program.picture("x", NCHW, "gpu0")))
    assert names_in(place(program.module())) == ["x__cpu", "x__NHWC", "x__NHWC__atlas0", "y", "y__cpu"]


@pytest.mark.parametrize(
    ("device", "line"),
    [
        ("", "net.blob runs on atlas0 and takes NHWC, its operand 'x' is on cpu and NCHW; before it add: {turn}; {there}"),
        ("atlas0", "net.blob takes NHWC, its operand 'x' is NCHW; before it add: {back}; {turn}; {there}"),
    ],
)
def test_strict_mode_names_the_lines(device: str, line: str) -> None:
    program = Pictures(placed=False)
    program.image_model("net")
    program.output(program.call("y", "net", program.picture("x", NCHW, device)), device="atlas0")
    with pytest.raises(PlacementError) as caught:
        place(program.module(), "strict")
    lines = {"there": 'x = lb.copy(x, "atlas0")', "back": 'x = lb.copy(x, "cpu")', "turn": "x = lb.nn.permute_dims(x, [0, 2, 3, 1])"}
    assert line.format(**lines) in str(caught.value)


def test_the_lines_that_strict_mode_names_are_enough() -> None:
    program = Pictures(placed=False)
    program.image_model("net")
    x = program.turned("t", program.picture("x", NCHW), [0, 2, 3, 1])
    there = program.bind("c", relax.op.to_vdevice(x, program.vdevices.get(ATLAS)), program.vdevices.on(x.ty, ATLAS))
    program.output(program.call("y", "net", there), device="atlas0")
    module: tvm.IRModule = place(program.module(), "strict")
    assert names_in(module) == ["t", "c", "y"]
