from __future__ import annotations

from typing import Any

from tvm import relax

from landbridge.codegen.graph import read_graph
from landbridge.codegen.schedule_steps import Stage, schedule_steps
from landbridge.ir.program import ExternModel
from support.placed_programs import build_main, call_model, copy_to, placed, signature

TYPE = relax.TensorType([4], "float32")
MODEL = (ExternModel("atlas", b"blob", signature([(4,)], [(4,)])), "atlas0")


def _model(emit: Any, x: Any) -> Any:
    """Return ``x`` sent to the device, through the model, and back."""
    return emit(copy_to(emit(call_model("m", [emit(copy_to(x, "atlas0"))], TYPE)), "cpu"))


def _stages(make: Any, inputs: Any = None) -> tuple[Stage, ...]:
    module = build_main(inputs or {"x": ((4,), "float32"), "y": ((4,), "float32")}, make)
    return schedule_steps(read_graph(placed(module, {"m": MODEL})))


def _segments(stages: tuple[Stage, ...]) -> list[int]:
    return [count for stage in stages if (count := sum(node.kind == "host" for node in stage.nodes))]


def test_host_work_before_and_after_a_model_is_two_segments() -> None:
    def make(emit: Any, x: Any, y: Any) -> list[Any]:
        return [emit(relax.op.exp(_model(emit, emit(relax.op.exp(x)))))]

    assert _segments(_stages(make)) == [1, 1]


def test_independent_models_share_their_turns() -> None:
    def make(emit: Any, x: Any, y: Any) -> list[Any]:
        left = emit(relax.op.exp(_model(emit, emit(relax.op.exp(x)))))
        right = emit(relax.op.exp(_model(emit, emit(relax.op.exp(y)))))
        return [emit(relax.op.add(left, right))]

    assert _segments(_stages(make)) == [2, 3]


def test_devices_go_first_where_that_saves_a_segment() -> None:
    def make(emit: Any, x: Any, y: Any) -> list[Any]:
        return [emit(relax.op.add(_model(emit, x), emit(relax.op.exp(y))))]

    assert _segments(_stages(make)) == [2]


def test_a_view_between_device_steps_ends_no_turn() -> None:
    def make(emit: Any, x: Any, y: Any) -> list[Any]:
        seen = emit(relax.op.reshape(_model(emit, x), (2, 2)))
        return [_model(emit, emit(relax.op.flatten(seen)))]

    stages = _stages(make)
    assert len(stages) == 1
    assert [node.kind for node in stages[0].nodes] == ["copy", "extern", "copy", "view", "view", "copy", "extern", "copy"]


def test_every_node_comes_after_what_it_needs() -> None:
    def make(emit: Any, x: Any, y: Any) -> list[Any]:
        a = _model(emit, emit(relax.op.exp(x)))
        return [emit(relax.op.add(_model(emit, emit(relax.op.add(a, y))), a))]

    module = build_main({"x": ((4,), "float32"), "y": ((4,), "float32")}, make)
    graph = read_graph(placed(module, {"m": MODEL}))
    done = {index for _, index in graph.inputs}
    nodes = [node for stage in schedule_steps(graph) for node in stage.nodes]
    for node in nodes:
        assert done >= set(node.inputs)
        done.update(node.outputs)
    assert len(nodes) == len(graph.nodes)
