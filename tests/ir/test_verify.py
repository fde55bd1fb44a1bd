"""The rules, each broken once; and programs that break none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import tvm
from tvm import relax

import landbridge.ir
from landbridge.ir.body import Body
from landbridge.ir.devices import VDevices, on_vdevice
from landbridge.ir.program import EXTERNS, OUTPUTS, ExternModel, Program, attribute
from landbridge.ir.verify import PHASES, Diagnostic, diagnose, verify
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PassError, UsageError, VerifyError
from landbridge.runtime.signature import Port, Signature
from support.random_programs import PaperAtlas
from support.small_programs import SHAPE, SmallProgram


def _legal() -> SmallProgram:
    """relu on the CPU, over to atlas0, an offline model, back, a conversion, an output; and an output that stays."""
    program = SmallProgram(placed=True, names={"r": "/relu:0"})
    program.model("net", "atlas0")
    there = program.copy("r__atlas0", program.relu("r", program.input("x")), "atlas0")
    y = program.call("y", "net", there)
    program.output(program.cast("h", program.copy("y__cpu", y, "cpu"), "float16"), "half", "cpu")
    program.output(y, "raw", "atlas0")
    return program


def _lines(module: tvm.IRModule, phase: str = "placed") -> list[str]:
    return [str(diagnostic) for diagnostic in diagnose(module, phase)]


@pytest.mark.parametrize("phase", PHASES)
def test_a_legal_program_breaks_no_rule(phase: str) -> None:
    assert _lines(_legal().module(), phase) == []
    verify(_legal().module(), phase)


def test_later_phases_have_all_the_rules_of_earlier_ones() -> None:
    imported, devices, placed = (PHASES[phase] for phase in ("imported", "devices", "placed"))
    assert set(imported) < set(devices) < set(placed)


def test_an_unknown_phase_is_an_error_that_lists_them() -> None:
    with pytest.raises(UsageError, match="unknown phase 'nowhere'"):
        diagnose(_legal().module(), "nowhere")


def test_an_operand_of_an_operator_on_a_device() -> None:
    program = SmallProgram(placed=True)
    program.output(program.relu("y", program.input("x", device="gpu0")))
    assert _lines(program.module()) == [
        """R2 small.onnx:y: nn.relu runs on the CPU, its operand 'x' is on gpu0 (fix: x = lb.copy(x, "cpu"))""",
    ]


def test_a_result_of_an_operator_on_a_device() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    program.output(program.bind("y", relax.op.nn.relu(x), program.vdevices.on(x.ty, Device("gpu"))), device="gpu0")
    assert _lines(program.module()) == ["R2 small.onnx:y: nn.relu runs on the CPU, its result is declared to be on gpu0"]


def test_an_operand_of_an_offline_model_elsewhere() -> None:
    program = SmallProgram(placed=True, names={"x": "/in:0"})
    program.model("net", "atlas0")
    program.output(program.call("y", "net", program.input("x")), device="atlas0")
    program.output(program.call("z", "net", program.input("g", device="gpu0")), device="atlas0")
    assert _lines(program.module()) == [
        "R2 small.onnx:y: net.blob runs on atlas0, its operand '/in:0' is on cpu (fix: copy '/in:0' to atlas0)",
        """R2 small.onnx:z: net.blob runs on atlas0, its operand 'g' is on gpu0 (fix: g = lb.copy(g, "cpu"); g = lb.copy(g, "atlas0"))""",
    ]


def test_a_result_of_an_offline_model_elsewhere() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0")
    x = program.input("x", device="atlas0")
    program.output(program.bind("y", relax.call_dps_packed("net", relax.Tuple([x]), out_ty=[x.ty]), program.vdevices.on(x.ty, CPU)))
    assert _lines(program.module()) == ["R2 small.onnx:y: net.blob runs on atlas0, its result is declared to be on cpu"]


def test_a_constant_is_the_cpus() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0")
    program.output(program.call("y", "net", program.constant()), device="atlas0")
    assert _lines(program.module()) == [
        "R2 small.onnx:y: net.blob runs on atlas0, its operand 'a constant' is on cpu (fix: copy 'a constant' to atlas0)",
    ]


def test_an_output_that_is_wanted_elsewhere() -> None:
    program = SmallProgram(placed=True)
    program.output(program.input("x"), "result", "gpu1")
    assert _lines(program.module()) == [
        """R2 small.onnx:result: this output is wanted on gpu1, 'x' is on cpu (fix: x = lb.copy(x, "gpu1"))""",
    ]


def test_an_output_without_a_wish_may_be_anywhere() -> None:
    program = SmallProgram(placed=True)
    program.output(program.input("x", device="gpu0"))
    assert _lines(program.module()) == []


def test_a_direct_copy_from_device_to_device() -> None:
    program = SmallProgram(placed=True)
    program.output(program.copy("y", program.input("x", device="gpu0"), "atlas0"), device="atlas0")
    assert _lines(program.module()) == [
        "R3 small.onnx:y: no link from gpu0 to atlas0, over which 'x' is copied "
        """(fix: x = lb.copy(x, "cpu"); x = lb.copy(x, "atlas0"))""",
    ]


def test_a_copy_over_a_link_that_the_topology_does_not_have() -> None:
    program = SmallProgram(placed=True, links=[["cpu", "gpu0"]])
    program.output(program.copy("y", program.input("x"), "atlas0"), device="atlas0")
    assert _lines(program.module()) == [
        "R3 small.onnx:y: no link from cpu to atlas0, over which 'x' is copied "
        "(fix: no way from cpu to atlas0; links of this topology: cpu - gpu0)",
    ]


def test_a_copy_to_where_the_value_is() -> None:
    program = SmallProgram(placed=True)
    program.output(program.copy("y", program.input("x"), "cpu"))
    assert _lines(program.module()) == ["R3 small.onnx:y: a copy of 'x' from cpu to cpu (fix: leave it out)"]


def test_a_copy_that_ends_elsewhere_than_it_says() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    copy = relax.op.to_vdevice(x, program.vdevices.get(Device("gpu")))
    program.output(program.bind("y", copy, program.vdevices.on(x.ty, Device("atlas"))))
    assert _lines(program.module()) == ["R3 small.onnx:y: a copy of 'x' to gpu0, its result is declared to be on atlas0"]


def test_a_conversion_on_a_device() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x", device="gpu0")
    half = program.vdevices.on(relax.TensorType(SHAPE, "float16"), Device("gpu"))
    program.output(program.bind("h", relax.op.astype(x, "float16"), half))
    assert _lines(program.module()) == [
        """R4 small.onnx:h: 'x' is converted to float16 on gpu0, conversions run on the CPU (fix: x = lb.copy(x, "cpu"))""",
    ]


def test_a_call_that_does_not_match_the_signature() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["float16"])
    program.output(program.call("y", "net", program.input("x", device="atlas0")), device="atlas0")
    assert _lines(program.module()) == [
        "R6 small.onnx:y: net.blob, input 0 'in0': value 'x' is float32 [2, 3], expected float16 [2, 3] "
        """(fix: x = lb.astype(x, "float16"))""",
    ]


def test_a_value_without_a_device() -> None:
    program = SmallProgram(placed=False)
    program.output(program.relu("y", program.input("x")))
    assert _lines(program.module(), "imported") == []
    assert _lines(program.module(), "devices") == [
        "R1 small.onnx:x: has no device (fix: infer devices first)",
        "R1 small.onnx:y: has no device (fix: infer devices first)",
    ]


def test_a_value_on_several_devices() -> None:
    program = SmallProgram(placed=True)
    x, g = program.input("x"), program.input("g", device="gpu0")
    program.bind("t", relax.Tuple([x, g]), tvm.ir.TupleType([x.ty, g.ty]))
    assert "R1 small.onnx:t: is on several devices: cpu, gpu0" in _lines(program.module())


def test_a_part_of_a_tuple_is_where_the_tuple_is() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", outputs=["float32", "float32"])
    whole = program.call("t", "net", program.input("x", device="atlas0"))
    program.output(program.bind("y", relax.TupleGetItem(whole, 0), program.vdevices.on(whole.ty.fields[0], CPU)))
    assert _lines(program.module()) == ["R2 small.onnx:y: is declared to be on cpu, what it stands for is on atlas0"]


def test_a_device_that_the_module_does_not_list() -> None:
    program = SmallProgram(placed=True)
    foreign = VDevices().get(Device("gpu"))
    program.params.append(relax.Var("x", on_vdevice(relax.TensorType(SHAPE, "float32"), foreign)))
    program.output(program.params[0])
    assert _lines(program.module(), "imported") == ["R1 small.onnx:x: lives on gpu0, which is not among the module's devices"]


def test_a_device_that_the_module_lists_twice() -> None:
    module = _legal().module()
    listed = list(module.global_infos["vdevice"])
    module.update_global_info("vdevice", [*listed, VDevices().get(CPU)])
    assert _lines(module, "imported") == ["R1 small.onnx:cpu: the module lists this device twice"]


def _with_entry(**changes: str) -> tvm.IRModule:
    module = _legal().module()
    entries = attribute(module, EXTERNS, {})
    entries["net"].update(changes)
    return module.with_attr(EXTERNS, entries)


def test_an_offline_model_on_a_device_of_another_vendor() -> None:
    assert _lines(_with_entry(device="gpu0"), "imported") == [
        "R2 small.onnx:net.blob: a blob of paper-atlas runs on atlas devices, not on gpu0 (fix: name one of its own, such as atlas0)",
    ]


def test_an_offline_model_of_an_unknown_vendor() -> None:
    (line,) = _lines(_with_entry(vendor="acme"), "imported")
    assert line.startswith("R2 small.onnx:net.blob: unknown vendor 'acme' (fix: vendors here: atlas, ")


def test_an_offline_model_on_the_vendors_other_device() -> None:
    assert [line.split(":")[0] for line in _lines(_with_entry(device="atlas1"))] == ["R2 small.onnx"] * 2


def test_an_offline_model_that_the_module_does_not_list() -> None:
    module = _legal().module().with_attr(EXTERNS, {})
    expected = f"R6 small.onnx:y: calls 'net', which the module's attribute {EXTERNS} does not list"
    assert _lines(module, "imported") == [expected]
    assert expected in _lines(module)


def test_a_value_that_is_used_before_it_is_made() -> None:
    module = _legal().module()
    body = Body.of(module)
    late = replace(body, bindings=(*body.bindings[1:], body.bindings[0])).write(module, VDevices(module))
    assert _lines(late, "imported") == ["form small.onnx:/relu:0: uses '/relu:0', which is not defined before it"]


def test_two_values_of_one_name() -> None:
    program = SmallProgram(placed=True)
    program.output(program.relu("x", program.input("x")))
    assert _lines(program.module(), "imported") == ["form small.onnx:x: two variables are called x"]


@pytest.mark.parametrize("name", ["/layer:0", "lambda", "1x"])
def test_a_name_that_is_no_identifier(name: str) -> None:
    program = SmallProgram(placed=True)
    program.output(program.input(name))
    assert _lines(program.module(), "imported") == [f"form small.onnx:{name}: '{name}' is not an identifier"]


def test_two_dimensions_of_one_name() -> None:
    program = SmallProgram(placed=True)
    for name in ("x", "y"):
        shape = (tvm.tirx.Var("n", "int64"), tvm.tirx.Var(name, "int64"))
        program.params.append(relax.Var(name, program.vdevices.on(relax.TensorType(shape, "float32"), CPU)))
        program.output(program.params[-1])
    assert _lines(program.module(), "imported") == ["form small.onnx:y: two dimensions are called n"]


def test_outputs_that_the_module_does_not_list() -> None:
    module = _legal().module().with_attr(OUTPUTS, [["half", ""]])
    assert _lines(module, "imported") == [f"form small.onnx:outputs: the program has 2 outputs, its attribute {OUTPUTS} lists 1"]


def test_an_output_that_is_a_tuple() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", outputs=["float32", "float32"])
    program.output(program.call("t", "net", program.input("x", device="atlas0")))
    assert _lines(program.module(), "imported") == ["form small.onnx:t: is an output and not a tensor (fix: return its parts)"]


def test_a_type_that_the_operator_does_not_make() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    program.output(program.bind("y", relax.op.permute_dims(x), x.ty))
    assert _lines(program.module()) == ["form small.onnx:y: is declared as float32 [2, 3], its operator makes float32 [3, 2]"]


def test_everything_is_reported_at_once() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", ["float16"])
    y = program.call("y", "net", program.relu("r", program.input("g", device="gpu0")))
    program.output(program.add("z", y, y), device="gpu0")
    with pytest.raises(VerifyError) as caught:
        verify(program.module())
    assert [line.split()[0] for line in caught.value.diagnostics] == ["R2", "R2", "R2", "R2", "R6"]
    assert str(caught.value).splitlines()[:2] == [
        "5 violations of the rules of a program in phase 'placed':",
        """  R2 small.onnx:r: nn.relu runs on the CPU, its operand 'g' is on gpu0 (fix: g = lb.copy(g, "cpu"))""",
    ]


def _program(change: Callable[[dict[str, ExternModel]], None]) -> list[Diagnostic]:
    signature = Signature((Port("in0", "float32", SHAPE),), (Port("out0", "float32", SHAPE),))
    externs = {"net": ExternModel(PaperAtlas.name, b"net", signature, name="net.blob")}
    change(externs)
    return list(diagnose(Program(_legal().module(), externs)))


def test_a_programs_blobs_are_those_that_its_module_lists() -> None:
    assert _program(lambda externs: None) == []
    (missing,) = _program(lambda externs: externs.clear())
    assert (missing.rule, missing.message) == ("R6", "the program has no blob for this offline model")
    (other,) = _program(lambda externs: externs.update(net=replace(externs["net"], data=b"other")))
    assert (other.rule, other.message) == ("R6", "the program's blob is not the one that the module lists")


def test_what_is_no_program_is_an_error_of_its_own() -> None:
    with pytest.raises(PassError, match="no function main"):
        verify(tvm.IRModule())


def test_verifying_changes_nothing() -> None:
    module = _legal().module()
    before = module.script()
    diagnose(module)
    assert module.script() == before


def test_the_function_is_what_the_package_exports() -> None:
    assert landbridge.ir.verify is verify
    assert landbridge.ir.diagnose is diagnose
