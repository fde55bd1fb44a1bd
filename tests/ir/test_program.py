"""Programs, their offline models, and what modules say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm
from tvm import relax

from landbridge.ir.program import (
    EXTERNS,
    MODEL,
    NAMES,
    OUTPUTS,
    TOPOLOGY,
    ExternModel,
    ModuleInfo,
    Program,
    attribute,
    extern_device,
    extern_entry,
    extern_signature,
    topology_of,
    user_name,
)
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import ModelError, SignatureError, UsageError
from landbridge.runtime.signature import Gears, Port, Signature
from support.random_programs import PaperAtlas

SIGNATURE = Signature((Port("x", "float16", ("batch", 3)),), (Port("y", "float16", ("batch", 3)),), Gears("batch", ((1,), (4,))))
MODEL_OF_ATLAS = ExternModel(PaperAtlas.name, b"blob", SIGNATURE, {"core": "0"}, name="net.om")


def _module() -> tvm.IRModule:
    attributes = {
        EXTERNS: {"net": extern_entry(MODEL_OF_ATLAS, Device("atlas", 1))},
        NAMES: {"v1": "/layer1/act"},
        OUTPUTS: [["y", "atlas1"], ["z", ""]],
        TOPOLOGY: [["atlas1", "cpu"]],
        MODEL: "net.onnx",
    }
    return tvm.IRModule({}, attrs=attributes)


def test_a_module_says_what_it_was_told() -> None:
    info = ModuleInfo.of(_module())
    entry = info.externs["net"]
    assert (entry.vendor, entry.device, entry.name, entry.options) == ("paper-atlas", Device("atlas", 1), "net.om", {"core": "0"})
    assert entry.signature == SIGNATURE
    assert entry.digest == MODEL_OF_ATLAS.digest
    assert [(wish.name, wish.device) for wish in info.outputs] == [("y", Device("atlas", 1)), ("z", None)]
    assert info.topology.linked(CPU, Device("atlas", 1))
    assert not info.topology.linked(CPU, Device("gpu"))
    assert info.model == "net.onnx"


def test_the_short_ways_say_the_same() -> None:
    module = _module()
    assert extern_device(module, "net") == Device("atlas", 1)
    assert extern_signature(module, "net") == SIGNATURE
    assert topology_of(module) == ModuleInfo.of(module).topology


def test_a_module_without_attributes_has_defaults() -> None:
    info = ModuleInfo.of(tvm.IRModule())
    assert (info.externs, info.outputs, info.model) == ({}, (), "")
    assert info.topology.linked(CPU, Device("gpu"))
    assert attribute(tvm.IRModule(), MODEL, "nameless") == "nameless"


def test_a_value_is_called_as_the_user_calls_it_also_where_a_pass_derived_it() -> None:
    variables = [relax.Var(name, relax.TensorType((1,), "float32")) for name in ("v1", "v1__float16__atlas1", "x", "x__cpu")]
    assert [user_name(_module(), variable) for variable in variables] == ["/layer1/act", "/layer1/act", "x", "x"]


def test_attributes_are_read_once() -> None:
    module = _module()
    assert ModuleInfo.of(module) is ModuleInfo.of(module)
    assert ModuleInfo.of(module.with_attr(MODEL, "other.onnx")).model == "other.onnx"
    assert ModuleInfo.of(module).model == "net.onnx"


def test_an_attribute_is_the_callers_own() -> None:
    module = _module()
    attribute(module, EXTERNS, {})["net"]["device"] = "gpu0"
    assert extern_device(module, "net") == Device("atlas", 1)


def test_attributes_survive_the_text() -> None:
    module = _module()
    again = tvm.ir.load_json(tvm.ir.save_json(module))
    assert ModuleInfo.of(again).externs == ModuleInfo.of(module).externs


def test_a_device_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        extern_entry(MODEL_OF_ATLAS, Device("gpu"))
    assert caught.value.message == "net.om is a blob of paper-atlas, which runs on atlas, not on gpu0"
    assert caught.value.hint == "name one of its own, such as atlas0"


def test_bytes_that_nobody_knows_are_refused() -> None:
    with pytest.raises(SignatureError, match="not an offline model of any known vendor"):
        ExternModel.from_bytes(b"nonsense")


def test_a_vendor_that_cannot_tell_needs_the_signature() -> None:
    with pytest.raises(SignatureError, match="the format does not tell"):
        ExternModel.from_bytes(b"nonsense", PaperAtlas.name)
    assert ExternModel.from_bytes(b"nonsense", PaperAtlas.name, signature=SIGNATURE).device_kind == "atlas"


def test_the_blob_of_another_vendor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaperAtlas, "recognises", lambda self, data: data == b"mine")
    with pytest.raises(SignatureError) as caught:
        ExternModel.from_bytes(b"mine", "paper-gpu", name="net.plan")
    assert str(caught.value) == "net.plan: this is a blob of paper-atlas, expected one of paper-gpu\n  hint: name the vendor paper-atlas"
    assert ExternModel.from_bytes(b"mine", signature=SIGNATURE).vendor == "paper-atlas"


def test_a_file_names_its_offline_model(tmp_path: Path) -> None:
    path = tmp_path / "net.om"
    path.write_bytes(b"blob")
    model = ExternModel.from_file(path, PaperAtlas.name, signature=SIGNATURE)
    assert (model.name, model.data) == ("net.om", b"blob")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.om: cannot read the offline model: No such file or directory"):
        ExternModel.from_file(tmp_path / "missing.om")


def test_a_program_with_the_same_module_is_the_same() -> None:
    module = _module()
    program = Program(module, {"net": MODEL_OF_ATLAS})
    assert program.with_module(module) is program
    other = program.with_module(tvm.IRModule())
    assert other.externs is program.externs
    assert other is not program
