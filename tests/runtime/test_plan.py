from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from landbridge.runtime.check_plan import check_sizes, roots
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactError, ArtifactLimit, PlanError
from landbridge.runtime.plan import LATE, Buffer, Copy, Extern, Plan, Segment
from support.plans import device_plan, host_plan, plan, tensor, weights

Change = Callable[[dict[str, Any]], Any]


def rich() -> Plan:
    """Return a plan with every kind of storage and step."""
    buffers = [
        tensor("x", "input"),  # 0
        weights(),  # 1
        tensor("t", "arena"),  # 2
        tensor("t", "arena", "toy0"),  # 3
        tensor("flat", "alias", shape=(["*", "n", 3],), base=2),  # 4
        Buffer("w", "toy0", "float32", (3,), "arena", 12, offset=["*", ["//", ["+", ["*", "n", 12], 63], 64], 64]),  # 5
        Buffer("found", "cpu", "int64", (LATE, 2), "late"),  # 6
    ]
    return plan(
        buffers,
        [
            Copy(1, 5, (), once=True),
            Segment("lb_segment_0", (0, 1, 2), ("n",), (2,), ("Add", "Relu"), ()),
            Copy(2, 3, (1,)),
            Extern("model", "toy0", (3, 5), (3,), (0, 2)),
            Extern("nonzero", "cpu", (4,), (6,), (1,)),
        ],
        {"x": 0},
        {"y": 3, "found": 6},
    )


def refusal(change: Change, of: Plan | None = None) -> tuple[type[ArtifactError], str]:
    data = copy.deepcopy((of or rich()).to_json())
    change(data)
    with pytest.raises(ArtifactError) as caught:
        Plan.from_json(data)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("made", [rich(), host_plan(), device_plan()])
def test_what_is_written_is_read_back(made: Plan) -> None:
    assert Plan.from_json(made.to_json()) == made
    made.validate()


def test_a_part_of_a_part_has_its_place_in_the_arena() -> None:
    buffers = [tensor("a", "arena", "toy0", offset=["*", "n", 64])]
    buffers += [tensor("b", "alias", "toyhost0", base=0, offset=128), tensor("c", "alias", base=1, offset=["*", "n", 192])]
    made = plan(buffers, [], {}, {})
    assert [made.place(buffer) for buffer in range(3)] == [
        ("toy0", ["*", "n", 64]),
        ("toy0", ["+", ["*", "n", 64], 128]),
        ("toy0", ["+", ["*", "n", 256], 128]),
    ]


def test_ranges_of_dimensions_are_kept() -> None:
    made = replace(rich(), ranges={"n": (1, 8)})
    assert Plan.from_json(made.to_json()) == made
    assert "ranges" not in rich().to_json()


def test_plain_tuples_become_lists() -> None:
    made = plan([tensor("x", "input", nbytes=("*", "n", 12))], [], {"x": 0}, {})
    assert Plan.from_json(made.to_json()).buffers[0].nbytes == ["*", "n", 12]


NOT_A_SIZE = "expected an integer, the name of a dimension, or [operator, left, right] with one of + - * // % max min"


def buffer(index: int, **changes: Any) -> Change:
    return lambda data: data["buffers"][index].update(changes)


def step(index: int, **changes: Any) -> Change:
    return lambda data: data["steps"][index].update(changes)


def top(**changes: Any) -> Change:
    return lambda data: data.update(changes)


def small_arena(data: dict[str, Any]) -> None:
    data["arenas"].update(toy0=100)
    data["buffers"][5].update(offset=128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # the form of each field
        (top(dims="n"), "plan.dims: a string, expected a list"),
        (top(dims=["n", "n"]), "plan.dims[1]: 'n' appears twice"),
        (top(dims=["n", ""]), "plan.dims: a dimension without a name"),
        (top(dims=["n", "m"]), "plan.dims[1]: no input has an axis whose extent is 'm'"),
        (top(more=[]), "plan: unknown member 'more'"),
        (top(ranges={"m": [1, 2]}), "plan.ranges: unknown dimension 'm'"),
        (top(ranges={"n": [3, 2]}), "plan.ranges.n: expected the least and the largest extent"),
        (top(ranges={"n": [3]}), "plan.ranges.n: expected the least and the largest extent"),
        (lambda data: data.pop("arenas"), "plan: member 'arenas' is missing"),
        (buffer(0, name=3), "plan.buffers[0].name: an integer, expected a string"),
        (buffer(0, device="toy"), "plan.buffers[0].device: 'toy' is not the name of a device"),
        (buffer(0, device="cpu0"), "plan.buffers[0].device: 'cpu0' is not the name of a device"),
        (buffer(0, device="toy01"), "plan.buffers[0].device: 'toy01' is not the name of a device"),
        (buffer(0, dtype="float31"), "plan.buffers[0].dtype: unknown dtype 'float31'"),
        (buffer(0, shape=["m"]), "plan.buffers[0].shape[0]: unknown dimension 'm'"),
        (buffer(0, shape=[["^", 1, 2]]), f"plan.buffers[0].shape[0]: {NOT_A_SIZE}"),
        (buffer(0, shape=[["+", 1]]), f"plan.buffers[0].shape[0]: {NOT_A_SIZE}"),
        (buffer(0, shape=[["+", 1, None]]), "plan.buffers[0].shape[0][2]: null, expected a list"),
        (buffer(0, shape=[-2]), f"plan.buffers[0].shape[0]: -2, expected -1 to {2**63 - 1}"),
        (buffer(0, shape=[-1]), "plan.buffers[0].shape[0]: an extent that only the data tells, in a buffer that is not late"),
        (buffer(0, shape=[1.0]), "plan.buffers[0].shape[0]: float, expected a list"),
        (buffer(0, nbytes=-1), f"plan.buffers[0].nbytes: -1, expected 0 to {2**63 - 1}"),
        (buffer(0, storage="heap"), "plan.buffers[0].storage: 'heap', expected one of input, constant, arena, alias, late"),
        (step(1, kind="jump"), "plan.steps[1].kind: 'jump', expected one of segment, copy, extern"),
        (lambda data: data["steps"][1].pop("kind"), "plan.steps[1].kind: None, expected one of segment, copy, extern"),
        (step(1, symbol=""), "plan.steps[1].symbol: an empty string"),
        (step(0, once=1), "plan.steps[0].once: an integer, expected true or false"),
        # storage
        (buffer(1, nbytes=11), "plan.buffers[1].nbytes: 11, but float32 [3] takes 12"),
        (buffer(1, offset=32), "plan.buffers[1].offset: 32, expected a multiple of 64"),
        (buffer(1, section=""), "plan.buffers[1].section: '' in a buffer of storage 'constant'"),
        (buffer(0, section="const/x"), "plan.buffers[0].section: 'const/x' in a buffer of storage 'input'"),
        (buffer(0, offset=64), "plan.buffers[0].offset: 64 in a buffer of storage 'input', expected 0"),
        (buffer(0, base=1), "plan.buffers[0].base: 1 in a buffer of storage 'input'"),
        (buffer(1, shape=["n"], nbytes=["*", "n", 4]), "plan.buffers[1]: a constant whose size depends on dimensions"),
        (buffer(1, device="toy0"), "plan.buffers[1].device: toy0, but storage 'constant' is on the CPU"),
        (buffer(6, device="toy0"), "plan.buffers[6].device: toy0, but storage 'late' is on the CPU"),
        (buffer(6, nbytes=8), "plan.buffers[6].nbytes: 8 in a buffer of storage 'late', expected 0"),
        (buffer(5, device="toy1"), "plan.buffers[5].device: toy1 has no arena"),
        (top(arenas={"cpu": ["*", "n", 12], "toy0": 4, "x": 0}), "plan.arenas.x: 'x' is not the name of a device"),
        (small_arena, "plan.buffers[5]: 12 bytes at 128 reach beyond 100"),
        (buffer(4, base=7), "plan.buffers[4].base: buffer 7 does not exist, there are 7"),
        (buffer(4, base=-1), "plan.buffers[4].base: -1 in a buffer of storage 'alias'"),
        (buffer(4, base=6), "plan.buffers[4].base: 6 is a late buffer, which has no memory of its own"),
        (buffer(4, base=4), "plan.buffers[4].base: a circle of aliases"),
        (buffer(4, base=1, shape=[3], nbytes=12, offset=64), "plan.buffers[4]: 12 bytes at 64 reach beyond 12"),
        (lambda data: (data["buffers"][4].update(device="toy1", base=3)), "plan.buffers[4].device: toy1, but its memory is on toy0"),
        # inputs and outputs
        (top(inputs=[{"name": "x", "buffer": 2}]), "plan.inputs[0].buffer: buffer 2 has storage 'arena', expected 'input'"),
        (top(inputs=[{"name": "x", "buffer": 7}]), "plan.inputs[0].buffer: buffer 7 does not exist, there are 7"),
        (top(inputs=[]), "plan.buffers[0]: an input buffer that 0 inputs name, expected 1"),
        (top(inputs=[{"name": name, "buffer": 0} for name in "xz"]), "plan.buffers[0]: an input buffer that 2 inputs name, expected 1"),
        (top(inputs=[{"name": "x", "buffer": 0}, {"name": "x", "buffer": 0}]), "plan.inputs[1]: 'x' appears twice"),
        (top(outputs=[{"name": "y", "buffer": 3}, {"name": "y", "buffer": 2}]), "plan.outputs[1]: 'y' appears twice"),
        (top(steps=[], outputs=[{"name": "y", "buffer": 2}]), "plan.outputs[0]: no step writes buffer 2"),
        # steps
        (step(1, buffers=[0, 1, 9]), "plan.steps[1].buffers[2]: buffer 9 does not exist, there are 7"),
        (step(1, buffers=[0, 3, 2]), "plan.steps[1].buffers[1]: buffer 3 is on toy0, a segment runs on the CPU"),
        (step(1, buffers=[0, 6, 2]), "plan.steps[1].buffers[1]: buffer 6 is late; only an offline model can read or write it"),
        (step(1, writes=[4]), "plan.steps[1].writes[0]: buffer 4 is not one of the segment's buffers"),
        (step(1, writes=[0]), "plan.steps[1]: reads buffer 2 ('t'), which no earlier step writes"),
        (step(1, writes=[0, 2]), "plan.steps[1]: writes buffer 0 ('x'), which is an input or a constant"),
        (step(1, dims=["m"]), "plan.steps[1].dims[0]: unknown dimension 'm'"),
        (step(1, after=[1]), "plan.steps[1].after[0]: step 1 is not before step 1"),
        (step(1, after=[-1]), f"plan.steps[1].after[0]: -1, expected 0 to {2**63 - 1}"),
        (step(2, source=3), "plan.steps[2]: copies from toy0 to toy0; a copy joins the CPU and one device"),
        (step(2, source=0, destination=2), "plan.steps[2]: copies from cpu to cpu; a copy joins the CPU and one device"),
        (step(2, source=4), "plan.steps[2]: copies float32 [n*3] to float32 [n, 3]"),
        (step(2, once=True), "plan.steps[2].once: the source has storage 'arena', expected 'constant'"),
        (step(2, destination=8), "plan.steps[2].destination: buffer 8 does not exist, there are 7"),
        (step(3, inputs=[2]), "plan.steps[3].inputs[0]: buffer 2 is on cpu, the model runs on toy0"),
        (step(3, device="there"), "plan.steps[3].device: 'there' is not the name of a device"),
        (step(3, outputs=[9]), "plan.steps[3].outputs[0]: buffer 9 does not exist, there are 7"),
        (lambda data: data["steps"].pop(2), "plan.steps[3].after[0]: step 1 is not before step 3"),
    ],
)  # fmt: skip
def test_wrong_fields(change: Change, message: str) -> None:
    if message.startswith("plan.steps[3].after"):
        change = top(steps=[*rich().to_json()["steps"][:2], *rich().to_json()["steps"][3:]])
        message = "plan.steps[2].after[1]: step 2 is not before step 2"
    assert refusal(change) == (ArtifactCorrupt, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (buffer(0, shape=[1] * 17), "plan.buffers[0].shape: 17 axes, at most 16 are allowed"),
        (buffer(0, nbytes=2**48 + 64), f"plan.buffers[0].nbytes: {2**48 + 64}, at most {2**48} is allowed"),
        (lambda data: data["arenas"].update(cpu=2**50), f"plan.arenas.cpu: {2**50}, at most {2**48} is allowed"),
        (buffer(0, name="n" * 70000), "plan.buffers[0].name: a string of 70000 characters, at most 65536 are allowed"),
    ],
)
def test_limits(change: Change, message: str) -> None:
    assert refusal(change) == (ArtifactLimit, message)


def test_deep_sizes_are_refused() -> None:
    size: Any = "n"
    for _ in range(40):
        size = ["+", size, 1]
    kind, message = refusal(buffer(0, nbytes=size))
    assert kind is ArtifactLimit
    assert message.endswith(": a size nested deeper than 32")


def test_what_is_read_must_have_been_written() -> None:
    made = rich()
    broken = Plan(made.dims, made.buffers, made.steps[:1] + made.steps[3:4], made.inputs, (), made.arenas)
    with pytest.raises(ArtifactCorrupt) as caught:
        broken.validate()
    assert str(caught.value) == "plan.steps[1].after[1]: step 2 is not before step 1"
    assert refusal(top(steps=[{**made.to_json()["steps"][3], "after": []}])) == (
        ArtifactCorrupt,
        "plan.steps[0]: reads buffer 3 ('t'), which no earlier step writes",
    )


def test_late_buffers_are_not_copied() -> None:
    buffers = [Buffer("x", "cpu", "int64", (LATE,), "late"), Buffer("y", "toy0", "int64", (LATE,), "late")]
    made = plan(buffers, [Copy(0, 1, ())], {}, {}, dims=())
    with pytest.raises(ArtifactCorrupt, match="storage 'late' is on the CPU"):
        made.validate()


def opaque_plan(input_storage: Any = "late", shape: tuple[Any, ...] = ("n",), dtype: str = "string") -> Plan:
    buffers = [Buffer("s", "cpu", dtype, shape, input_storage), Buffer("t", "cpu", "sequence(tensor(int8))", (), "late")]
    return plan(buffers, [Extern("split", "cpu", (0,), (1,), ())], {"s": 0}, {"t": 1})


def test_what_is_no_tensor_of_numbers_is_late_as_an_input_too() -> None:
    made = opaque_plan()
    assert made.has_opaque
    assert not rich().has_opaque
    made.validate()
    assert Plan.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (opaque_plan("input"), r"buffers\[0\].storage: 'input' for string, expected 'late'"),
        (opaque_plan(shape=("n",), dtype="tensor(int8)"), r"buffers\[0\].shape: 1 axes of tensor\(int8\), expected none"),
        (opaque_plan(dtype="list(int8)"), r"buffers\[0\].dtype: unknown dtype 'list\(int8\)'"),
        (opaque_plan(dtype="int64"), r"inputs\[0\].buffer: buffer 0 has storage 'late', expected 'input'"),
    ],
)
def test_other_storage_and_shapes_of_what_is_no_tensor_of_numbers(made: Plan, message: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=message):
        made.validate()


def test_no_step_writes_an_input_that_is_late() -> None:
    made = opaque_plan()
    made = plan(made.buffers, [Extern("split", "cpu", (0,), (0,), ())], {"s": 0}, {})
    with pytest.raises(ArtifactCorrupt, match="writes buffer 0 \\('s'\\), which is an input or a constant"):
        made.validate()


# Sizes of given extents


def test_sizes_of_given_extents() -> None:
    assert check_sizes(host_plan(), {"n": 6}) == [((6, 3), 72, 0), ((3,), 12, 0), ((6, 3), 72, 0), ((6, 3), 72, 128)]
    assert [shape for shape, _, _ in check_sizes(rich(), {"n": 0})][-1] == (-1, 2)


@pytest.mark.parametrize(
    ("made", "extents", "message"),
    [
        (
            plan([tensor("x", "input", nbytes=["-", ["*", "n", 12], 1])], [], {"x": 0}, {}),
            {"n": 2},
            "plan.buffers[0] with n=2: buffer 'x' of shape [2, 3] does not fit into 23 bytes at 0 of 281474976710656",
        ),
        (
            plan([tensor("x", "input"), tensor("y", "arena", offset="n")], [], {"x": 0}, {}),
            {"n": 2},
            "plan.buffers[1] with n=2: buffer 'y' of shape [2, 3] does not fit into 24 bytes at 2 of 26",
        ),
        (
            plan([tensor("x", "input"), tensor("y", "arena")], [], {"x": 0}, {}, arenas={"cpu": 100}),
            {"n": 9},
            "plan.buffers[1] with n=9: buffer 'y' of shape [9, 3] does not fit into 108 bytes at 0 of 100",
        ),
        (
            plan([tensor("x", "input"), tensor("y", "arena", shape=(["-", "n", 5],))], [], {"x": 0}, {}),
            {"n": 2},
            "plan.buffers[1] with n=2: buffer 'y' of shape [-3] does not fit into 24 bytes at 0 of 24",
        ),
        (
            plan([tensor("x", "input"), tensor("y", "alias", base=0, offset=["*", "n", 64], shape=())], [], {"x": 0}, {}),
            {"n": 2},
            "plan.buffers[1]: alias 'y' reaches beyond 'x'",
        ),
        (plan([tensor("x", "input", nbytes=["//", 99, "n"])], [], {"x": 0}, {}), {"n": 0}, "division by zero in size 99//n"),
    ],
)
def test_extents_for_which_sizes_do_not_fit(made: Plan, extents: dict[str, int], message: str) -> None:
    made.validate()
    with pytest.raises(PlanError) as caught:
        check_sizes(made, extents)
    assert str(caught.value) == message


def test_roots_of_chains_in_any_order() -> None:
    buffers = [
        tensor("a", "alias", base=2),
        tensor("b", "alias", base=0),
        tensor("c", "alias", base=3),
        tensor("x", "input"),
        tensor("d", "alias", base=1),
    ]
    assert roots(plan(buffers, [], {"x": 3}, {})) == [3, 3, 3, 3, 3]


# Anything at all


def test_any_change_gives_a_plan_or_an_error_of_ours() -> None:
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        1,
        7,
        2**31,
        2**63,
        "",
        "n",
        "cpu",
        "toy0",
        [],
        ["+", "n", 1],
        {},
        1.5,
        "alias",
        "late",
        "input",
    ]
    numbers = random.Random(7)
    refused, places = 0, []
    for _ in range(2500):
        data = copy.deepcopy(rich().to_json())
        for _ in range(numbers.choice([1, 1, 2, 3])):
            place: Any = data
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = numbers.choice(keys)
                if isinstance(place[key], dict | list) and numbers.random() < 0.8:
                    place = place[key]
                    continue
                place[key] = numbers.choice(values)
                break
        try:
            made = Plan.from_json(data)
        except ArtifactError as error:
            places.append(error.at)
            continue
        assert Plan.from_json(made.to_json()) == made
        for extent in (0, 5):
            try:
                check_sizes(made, dict.fromkeys(made.dims, extent))
            except PlanError:
                refused += 1
    assert refused + len(places) > 1000
    assert [at for at in places if not at.startswith("plan")] == []
