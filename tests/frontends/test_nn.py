"""The module API: modules with offline models in them become programs."""

from __future__ import annotations

import numpy as np
import pytest

from landbridge.frontends import nn
from landbridge.ir.body import Body, is_copy, is_extern
from landbridge.ir.devices import device_of
from landbridge.ir.program import EXTERNS, OUTPUTS, attribute, user_name
from landbridge.ir.verify import verify
from landbridge.runtime.device import Device
from landbridge.runtime.errors import ModelError, SignatureError, UsageError
from landbridge.runtime.signature import BATCH, Gears, Port, Signature

BLOB = b"IMOD, but for its first four bytes anything"
ONE = Signature((Port("d", "float16", (BATCH, 3)),), (Port("o", "float16", (BATCH, 7)),))
TWO = Signature((Port("d", "float16", (2, 3)),), (Port("o", "float16", (2, 7)), Port("p", "float32", (5,))))
SPEC = {"x": nn.TensorSpec(("n", 3), "float16", device="cpux")}


class Between(nn.Module):
    def __init__(self, signature: Signature = ONE, device: str | None = None) -> None:
        self.backbone = nn.AtlasRuntimeSubgraph(BLOB, signature=signature, device=device)

    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return nn.relu(self.backbone(nn.relu(x))[0])


def test_a_model_between_operators_becomes_a_call_that_passes_understand() -> None:
    program = nn.from_module(Between(), SPEC, name="between.py")
    body = Body.of(program.module)
    kinds = [is_extern(binding.value) for binding in body.bindings]
    assert kinds == [False, True, False]
    assert [user_name(program.module, binding.var) for binding in body.bindings][1] == "backbone"
    assert attribute(program.module, OUTPUTS, None) == [["output", ""]]
    assert attribute(program.module, EXTERNS, None)["atlas_0"]["device"] == "atlas0"
    assert program.externs["atlas_0"].data == BLOB
    verify(program, "imported")


def test_named_dimensions_go_through_the_offline_model() -> None:
    (output,) = Body.of(nn.from_module(Between(), SPEC).module).outputs
    assert str(output.ty.shape) == "R.shape([n, 7])"


def test_outputs_are_always_a_sequence() -> None:
    class Whole(nn.Module):
        def __init__(self, signature: Signature) -> None:
            self.model = nn.AtlasRuntimeSubgraph(BLOB, signature=signature)

        def forward(self, inputs):  # type: ignore[no-untyped-def]
            outputs = self.model(inputs)
            assert isinstance(outputs, list)
            return outputs

    spec = {"inputs": nn.TensorSpec((2, 3), "float16", device="atlas0")}
    assert attribute(nn.from_module(Whole(ONE), spec).module, OUTPUTS, None) == [["output", ""]]
    assert attribute(nn.from_module(Whole(TWO), spec).module, OUTPUTS, None) == [["output_0", ""], ["output_1", ""]]


def test_inputs_may_be_one_list() -> None:
    class Net(Between):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.backbone([x])[0]

    assert len(Body.of(nn.from_module(Net(), SPEC).module).bindings) == 1


def test_it_runs_where_its_input_is() -> None:
    class Net(Between):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.backbone(x)[0]

    program = nn.from_module(Net(), {"x": nn.TensorSpec((2, 3), "float16", device="atlas1")})
    assert attribute(program.module, EXTERNS, None)["atlas_0"]["device"] == "atlas1"


def test_it_runs_where_its_input_was_copied_to() -> None:
    class Net(Between):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.backbone(nn.copy(x, "atlas3"))[0]

    program = nn.from_module(Net(), SPEC)
    assert attribute(program.module, EXTERNS, None)["atlas_0"]["device"] == "atlas3"
    copies = [binding for binding in Body.of(program.module).bindings if is_copy(binding.value)]
    assert [device_of(binding.var) for binding in copies] == [Device("atlas", 3)]


def test_the_device_that_was_asked_for_wins() -> None:
    program = nn.from_module(Between(device="atlas:2"), SPEC)
    assert attribute(program.module, EXTERNS, None)["atlas_0"]["device"] == "atlas2"


def test_a_device_of_another_vendor_is_refused() -> None:
    with pytest.raises(UsageError, match="backbone is a blob of atlas, which runs on atlas, not on openvino0"):
        nn.from_module(Between(device="openvino0"), SPEC)


def test_values_on_two_devices_may_meet_before_placement() -> None:
    class Net(Between):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return nn.add(nn.copy(x, "atlas0"), x)

    assert len(Body.of(nn.from_module(Net(), SPEC).module).bindings) == 2


def test_parameters_become_constants() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(3, 2, bias=False)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.fc(x)

    net, spec = Net(), {"x": nn.TensorSpec((1, 3), "float32")}
    with pytest.raises(ModelError, match=r"Net: parameters without data: fc\.weight"):
        nn.from_module(net, spec)
    assert list(net.state_dict()) == ["fc.weight"]
    net.fc.weight.data = np.ones((2, 3), "float32")
    assert len(Body.of(nn.from_module(net, spec).module).params) == 1


@pytest.mark.parametrize(
    "ask", [lambda m: m.state_dict(), lambda m: list(m.named_parameters()), lambda m: list(m.parameters()), lambda m: m.load_state_dict({})]
)
def test_weights_of_a_model_with_an_offline_model_cannot_be_had(ask) -> None:  # type: ignore[no-untyped-def]
    class Nested(nn.Module):
        def __init__(self) -> None:
            self.stages = nn.ModuleList([Between(), Between()])

    with pytest.raises(ModelError) as caught:
        ask(Nested())
    assert str(caught.value) == (
        "Nested: this model has offline models in it (stages.0.backbone, stages.1.backbone), whose weights are inside their blobs: "
        "it has no weights to save\n"
        '  hint: save it whole: lb.compile(lb.from_module(…)).save("model.lbr")'
    )


def test_a_path_is_not_a_blob() -> None:
    with pytest.raises(UsageError, match="AtlasRuntimeSubgraph: an offline model is given as bytes, not as str"):
        nn.AtlasRuntimeSubgraph("backbone.om")  # type: ignore[arg-type]  # the mistake


def test_another_vendors_blob_is_refused() -> None:
    with pytest.raises(SignatureError, match="this is a blob of atlas, expected one of openvino"):
        nn.OpenvinoRuntimeSubgraph(BLOB)


def test_an_offline_model_is_not_called_outside_a_module() -> None:
    with pytest.raises(UsageError, match=r"only be called inside lb\.from_module"):
        Between().backbone(None)


def test_an_output_whose_dimension_no_input_has_is_refused() -> None:
    odd = Signature((Port("d", "float16", (2, 3)),), (Port("o", "float16", ("k", 7)),), Gears("dims", ((1,), (2,))))
    with pytest.raises(SignatureError, match="backbone: output 'o' has the dimension 'k', which no given input has"):
        nn.from_module(Between(odd), SPEC)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"y": nn.TensorSpec((1, 3), "float16")}, r"Between: inputs \['y'\] given, forward takes \['x'\]"),
        ({"x": nn.TensorSpec((1, 3), "float16", "npu0")}, "unknown device 'npu0'"),
        ({"x": (1, 3)}, "input 'x': expected a TensorSpec, found tuple"),
        ({"x": nn.TensorSpec((1, 3), "flot16")}, "input 'x': unknown dtype 'flot16'\n  hint: did you mean 'float16'?"),
        ({"x": nn.TensorSpec((-1, 3), "float16")}, "input 'x': -1 on axis 0, expected an extent of 0 or more, or a name"),
        ({"x": nn.TensorSpec((1, None), "float16")}, "input 'x': None on axis 1, expected an extent of 0 or more, or a name"),  # type: ignore[arg-type]  # the mistake
    ],
)
def test_wrong_inputs_are_named(inputs, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        nn.from_module(Between(), inputs)


def test_outputs_used_like_a_tensor_are_explained() -> None:
    class Net(Between):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return nn.relu(self.backbone(x))

    with pytest.raises(UsageError) as caught:
        nn.from_module(Net(), SPEC)
    assert str(caught.value) == (
        "backbone: the outputs of an offline model are used like a tensor; they are a sequence of 1\n  hint: choose one: backbone(…)[0]"
    )


def test_forward_must_return_tensors() -> None:
    class Net(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return {"a": 1}

    with pytest.raises(ModelError, match="Net: forward returns a int for 'a', expected a tensor"):
        nn.from_module(Net(), SPEC)


def test_an_output_that_is_a_copy_stays_on_its_device() -> None:
    class Net(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            return nn.copy(x, "atlas1"), nn.relu(x)

    assert attribute(nn.from_module(Net(), SPEC).module, OUTPUTS, None) == [["output_0", "atlas1"], ["output_1", ""]]
