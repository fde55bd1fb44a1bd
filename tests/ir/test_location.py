"""How messages name a place."""

from __future__ import annotations

from tvm import relax

from landbridge.ir.location import place, place_of, value_name
from landbridge.ir.program import MODEL, NAMES, ModuleInfo

INFO = ModuleInfo({MODEL: "net.onnx", NAMES: {"layer1_act": "/layer1/act"}})


def _var(name: str) -> relax.Var:
    return relax.Var(name, relax.TensorType((1,), "float32"))


def test_a_value_is_named_as_the_user_names_it_after_the_model() -> None:
    assert place_of(INFO, _var("layer1_act")) == "net.onnx:/layer1/act"
    assert place_of(INFO, _var("layer1_act__atlas0")) == "net.onnx:/layer1/act"
    assert place(INFO, "outputs") == "net.onnx:outputs"


def test_a_model_without_a_name_is_left_out() -> None:
    assert place_of(ModuleInfo({}), _var("x")) == "x"


def test_a_constant_has_no_name() -> None:
    assert value_name(INFO, relax.const(1.0)) == "a constant"
