"""What an artifact says of its operators, for people."""

from __future__ import annotations

from itertools import combinations

import pytest

import landbridge as lb
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.description import Description
from landbridge.runtime.dims import evaluate
from landbridge.runtime.plan import Copy, Extern, Segment
from landbridge.simulators.ascend.make_om import make_om
from support.random_onnx import random_model
from support.small_onnx import node, small_model

SHAPE = ("float32", ("n", 4))


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """Of Relu, Sigmoid on atlas0 in float16, then Neg and Softmax."""
    nodes = [node("Relu", "image", "/clean:0"), node("Sigmoid", "/clean:0", "score"), node("Neg", "score", "negative")]
    nodes.append(node("Softmax", "negative", "result", axis=1))
    middle = small_model([node("Sigmoid", "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    om = make_om(middle, gears=(1, 2), input_dtype="float16", output_dtype="float16")
    model = lb.from_onnx(small_model(nodes, {"image": SHAPE}, {"result": SHAPE}))
    by = lb.ExternModel.from_bytes(om, name="middle.om")
    return lb.compile(lb.replace(model, inputs=["/clean:0"], outputs=["score"], by=by)).artifact


def test_each_operator_has_the_users_names_and_the_text_of_the_ir(artifact: Artifact) -> None:
    found = Description.of(artifact.sections)
    told = [(o.kind, o.name, o.operator, o.source, o.step) for o in found.operators]
    assert told == [
        ("host", "/clean:0", "Relu", "relu_/clean:0", 0),
        ("cast", "/clean:0", "cast", "", 0),
        ("copy", "/clean:0", "copy", "", 1),
        ("extern", "score", "middle.om", "", 2),
        ("copy", "score", "copy", "", 3),
        ("cast", "score", "cast", "", 4),
        ("host", "negative", "Neg", "neg_negative", 4),
        ("host", "result", "Softmax", "softmax_result", 4),
    ]
    assert found.operators[0].text == "R.nn.relu(image)"
    assert found.operators[3].text.startswith('R.call_dps_packed("middle", (clean_0__float16__atlas0,)')
    assert [(found.values[o.inputs[0]].name, found.values[o.outputs[0]].device) for o in found.operators[1:4]] == [
        ("/clean:0", "cpu"),
        ("/clean:0", "atlas0"),
        ("/clean:0", "atlas0"),
    ]


def test_what_is_written_is_read_back(artifact: Artifact) -> None:
    found = Description.of(artifact.sections)
    assert Description.of({"const/description.json": found.to_bytes()}) == found
    assert Description.of({}) == Description()


@pytest.mark.parametrize("seed", range(4))
def test_the_description_is_of_the_plan(seed: int) -> None:
    artifact = lb.compile(lb.from_onnx(random_model(seed, dynamic=bool(seed % 2)).proto())).artifact
    found, plan = Description.of(artifact.sections), artifact.plan
    kinds = {"host": Segment, "cast": Segment, "copy": Copy, "extern": Extern}
    made: dict[int, str] = {}
    for operator in found.operators:
        assert all(index in made or found.values[index].name in {entry.name for entry in plan.inputs} for index in operator.inputs)
        made.update(dict.fromkeys(operator.outputs, operator.name))
        assert operator.step == -1 or isinstance(plan.steps[operator.step], kinds[operator.kind])
        assert operator.text.startswith("R.")
    steps = [operator.step for operator in found.operators if operator.step >= 0]
    assert steps == sorted(steps)
    assert set(steps) >= {number for number, step in enumerate(plan.steps) if not isinstance(step, Segment)}
    for number, step in enumerate(plan.steps):
        if isinstance(step, Segment):
            assert {o.name for o in found.operators if o.step == number} == set(step.operators)
    _check_lifetimes(found, artifact)


def _check_lifetimes(found: Description, artifact: Artifact) -> None:
    """Buffers that are in use at the same moment have no byte in common, and none is used by a step outside of its lifetime."""
    plan, extents = artifact.plan, dict.fromkeys(artifact.plan.dims, 3)
    places = []
    for life in found.lifetimes:
        buffer = plan.buffers[life.buffer]
        device, offset = plan.place(life.buffer)
        start = evaluate(offset, extents)
        places.append((device, life, start, start + evaluate(buffer.nbytes, extents)))
    for (one, a, start, end), (other, b, first, last) in combinations(places, 2):
        together = one == other and a.first <= b.last and b.first <= a.last
        assert not (together and start < last and first < end)
    begins = [sum(found.moments[:number]) for number in range(len(plan.steps))]
    spans = {life.buffer: (life.first, life.last) for life in found.lifetimes}
    for number, step in enumerate(plan.steps):
        for used in {*step.reads, *step.writes} & spans.keys():
            assert spans[used][0] < begins[number] + found.moments[number]
            assert spans[used][1] >= begins[number]
