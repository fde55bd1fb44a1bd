"""Steps that do not wait for each other run at the same time, and nothing else does."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load, overlap
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.binding import Binding
from landbridge.runtime.errors import DeviceError, DeviceLost
from landbridge.runtime.overlap import is_one_line, longest, reduced
from landbridge.runtime.plan import Copy, Extern, Segment, Step
from landbridge.runtime.session import Session
from support.graph_shapes import GEAR_ALIGNED, SHAPES
from support.plans import GEAR, N3_ALIGNED, artifact, extern, plan, tensor
from support.sessions import Toys, image
from support.timing import least
from support.toy_vendor import FUNCTIONS, HANG, NAP_S

SETTLED = 2 * overlap._TRIES
"""After so many runs a binding has chosen."""


def branches(*models: str, reuse: bool = False, device: str = "toyhost") -> Session:
    """Return a session on models in the host's memory, each on a device of its own and on the same input, whose outputs are added up.

    Args:
        reuse: all models use the same memory, so that they have to wait for each other.
    """
    buffers = [tensor("x", "input")]
    steps: list[Step] = []
    for index, _ in enumerate(models):
        place = f"{device}{index}"
        offset: Any = ["*", index, N3_ALIGNED]
        at = len(buffers)
        buffers += [tensor("t", "alias", place, base=0), tensor("u", "arena", place), tensor("u", "alias", base=at + 1)]
        buffers += [tensor(f"v{index}", "arena", offset=0 if reuse else offset)]
        steps.append(Extern(f"m{index}", place, (at,), (at + 1,), ()))
        steps.append(Segment("lb_double", (at + 2, at + 3), ("n",), (at + 3,), ("Mul",), (len(steps) - 1,)))
    outputs = {f"y{index}": 4 * (index + 1) for index in range(len(models))}
    records = [extern(f"m{index}", f"{device}{index}", function=function) for index, function in enumerate(models)]
    return load(to_bytes(artifact(plan(buffers, steps, {"x": 0}, outputs), records)))


def settled(session: Session, **options: Any) -> Session:
    for rows in itertools.repeat(2, SETTLED):
        session.run({"x": image(rows)}, **options)
    return session


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps run together wherever the plan allows, and from the first run."""
    monkeypatch.setattr(overlap.Overlap, "together", True)


def binding_of(session: Session) -> Binding:
    (binding,) = [lease.binding for lease in session._life.leases.all() if lease.binding is not None]
    return binding


# The order


def brute(before: list[set[int]]) -> list[set[int]]:
    """Return everybody that each waits for, in the end."""
    everybody: list[set[int]] = []
    for waits in before:
        everybody.append(waits.union(*(everybody[earlier] for earlier in waits)))
    return everybody


def test_a_reduced_order_is_the_same_order_with_no_wait_too_many() -> None:
    draw = random.Random(1)
    for _ in range(300):
        count = draw.randrange(1, 12)
        before = [{earlier for earlier in range(step) if draw.random() < 0.3} for step in range(count)]
        found = reduced(before)
        assert brute([set(waits) for waits in found]) == brute(before)
        for position, waits in enumerate(found):
            for earlier in waits:
                fewer = [set(other) - ({earlier} if at == position else set()) for at, other in enumerate(found)]
                assert brute(fewer) != brute(before), "one wait follows from the others"
        total = all(len(everybody) == position for position, everybody in enumerate(brute(before)))
        assert is_one_line(found) == total


def test_the_longest_way() -> None:
    assert longest([(), (), (0, 1), (1,)], [5, 7, 1, 9]) == 16
    assert longest([], []) == 0


@pytest.mark.parametrize(("shape", "parallel"), [(shape, shape in ("two devices", "a constant that crosses once")) for shape in SHAPES])
def test_what_is_one_line_of_steps_has_no_overlap(toys: Toys, shape: str, parallel: bool) -> None:
    with load(to_bytes(SHAPES[shape][0]())) as session:
        session(image(2))
        assert (binding_of(session).overlap is not None) == parallel


def test_steps_wait_for_the_memory_that_they_share(toys: Toys) -> None:
    with branches("double", "double") as apart, branches("double", "double", reuse=True) as shared:
        for session in (apart, shared):
            session.run({"x": image(2)})
        found = binding_of(apart).overlap
        assert found is not None
        assert (found.first, found.later) == ((0, 2), ((1,), (3,), (3,), ()))
        found = binding_of(shared).overlap
        assert found is not None
        assert found.later == ((1,), (3,), (3,), ()), "the segments wait for each other anyway, and share nothing with the models"


def test_parts_of_one_tensor_are_no_memory_that_steps_share(toys: Toys) -> None:
    def joined(offset: Any) -> bytes:
        buffers = [tensor("x", "input"), tensor("whole", "arena", nbytes=["*", N3_ALIGNED, 2])]
        for index, place in enumerate((0, offset)):
            device = f"toyhost{index}"
            buffers += [tensor("t", "alias", device, base=0), tensor("u", "alias", device, base=1, offset=place)]
        buffers += [tensor("left", "alias", base=1), tensor("right", "alias", base=1, offset=N3_ALIGNED)]
        steps = [Extern(f"m{index}", f"toyhost{index}", (2 + 2 * index,), (3 + 2 * index,), ()) for index in range(2)]
        records = [extern(f"m{index}", f"toyhost{index}", function="double") for index in range(2)]
        return to_bytes(artifact(plan(buffers, steps, {"x": 0}, {"left": 6, "right": 7}), records))

    with load(joined(N3_ALIGNED)) as apart, load(joined(0)) as over:
        for session in (apart, over):
            session(image(2))
        np.testing.assert_array_equal(apart(image(2))["right"], 2 * image(2))
        assert binding_of(apart).overlap is not None
        assert binding_of(over).overlap is None


def test_a_model_that_takes_one_call_at_a_time_has_them_in_the_plans_order(toys: Toys) -> None:
    def twice(symbols: tuple[str, str]) -> Any:
        buffers = [
            tensor("x", "input", "toy0", nbytes=GEAR),
            *(tensor("y", "arena", "toy0", nbytes=GEAR, offset=o) for o in (0, GEAR_ALIGNED)),
        ]
        steps = [Extern(symbol, "toy0", (0,), (at + 1,), ()) for at, symbol in enumerate(symbols)]
        return to_bytes(
            artifact(plan(buffers, steps, {"x": 0}, {"y": 1, "z": 2}), [extern(name, function="double") for name in dict.fromkeys(symbols)])
        )

    for concurrent in (False, True):
        toys["toy"].concurrent = concurrent
        with load(twice(("one", "one"))) as session:
            session.run({"x": image(2)})
            assert (binding_of(session).overlap is None) == (not concurrent)


def test_copies_in_one_direction_take_turns(toys: Toys) -> None:
    buffers = [
        *(tensor(name, "input") for name in "ab"),
        *(tensor(name, "arena", "toy0", nbytes=GEAR, offset=["*", at, GEAR_ALIGNED]) for at, name in enumerate("abc")),
        tensor("c", "arena"),
    ]
    steps: list[Step] = [Copy(0, 2, ()), Copy(1, 3, ()), Extern("add", "toy0", (2, 3), (4,), (0, 1)), Copy(4, 5, (2,))]
    with load(to_bytes(artifact(plan(buffers, steps, {"a": 0, "b": 1}, {"c": 5}), [extern("add", inputs=2)]))) as session:
        np.testing.assert_array_equal(session.run({"a": image(2), "b": image(2, 5)})["c"], image(2) + image(2, 5))
        assert binding_of(session).overlap is None


# Running


@pytest.mark.parametrize("shape", ["two devices", "a constant that crosses once"])
def test_results_are_those_of_one_step_after_the_other(toys: Toys, at_once: None, shape: str) -> None:
    make, expected = SHAPES[shape]
    with load(to_bytes(make())) as session:
        for rows in (2, 5, 1, 2, 7) * 20:
            outputs = session(image(rows, rows))
            for name, value in expected(image(rows, rows)).items():
                np.testing.assert_array_equal(outputs[name], value)


def test_calls_of_two_devices_run_at_the_same_time(toys: Toys) -> None:
    with branches("nap", "nap") as session:
        settled(session)
        found = binding_of(session).overlap
        assert found is not None
        assert found.together

        def elapsed() -> float:
            started = time.perf_counter()
            np.testing.assert_array_equal(session(image(2))["y1"], 4 * image(2))
            return time.perf_counter() - started

        assert least(elapsed, enough=1.5 * NAP_S) < 1.5 * NAP_S, "one after the other it is twice as long"
        bound = session.bind({"x": image(2)}, {"y0": np.empty((2, 3), np.float32), "y1": np.empty((2, 3), np.float32)})
        for _ in range(SETTLED):
            bound()

        def bound_elapsed() -> float:
            started = time.perf_counter()
            bound()
            return time.perf_counter() - started

        assert least(bound_elapsed, enough=1.5 * NAP_S) < 1.5 * NAP_S


def _runs_in_turn(model: str) -> bool:
    """Return whether one of three sessions runs two models in turn.

    What the machine does meanwhile may make the other way look faster by chance, but not always.
    """
    for _ in range(3):
        with branches(model, model) as session:
            settled(session)
            found = binding_of(session).overlap
            assert found is not None
            if not found.together:
                return True
    return False


@pytest.mark.parametrize(("step_ns", "together"), [(overlap.HANDOVER_NS // 2, False), (overlap.HANDOVER_NS * 4, True)])
def test_what_costs_less_than_handing_over_runs_in_turn(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, step_ns: int, *, together: bool
) -> None:
    """By a clock that only the models move, so that other work on the machine changes nothing."""
    now = [0]

    def doubled(x: Any) -> list[Any]:
        now[0] += step_ns
        return [x * 2]

    monkeypatch.setitem(FUNCTIONS, "double", doubled)
    monkeypatch.setattr(overlap, "perf_counter_ns", lambda: now[0])
    with branches("double", "double") as session:
        for _ in range(overlap._TRIES):
            session(image(2))
        found = binding_of(session).overlap
        assert found is not None
        assert found.together is together


def test_what_is_not_faster_together_runs_in_turn(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = threading.Lock()

    def exclusive(x: Any) -> list[Any]:
        with lock:
            time.sleep(0.003)
        return [x * 2]

    monkeypatch.setitem(FUNCTIONS, "nap", exclusive)
    assert _runs_in_turn("nap")


def test_a_trace_shows_what_ran_together(toys: Toys) -> None:
    with branches("nap", "nap") as session:
        _, trace = settled(session).profile({"x": image(2)})
        spans = {span.step: span for span in trace.spans}
        assert sorted(spans) == [0, 1, 2, 3]
        assert spans[2].start_ns < spans[0].start_ns + spans[0].elapsed_ns
        assert spans[0].start_ns < spans[2].start_ns + spans[2].elapsed_ns
        assert [span.start_ns for span in trace.spans] == sorted(span.start_ns for span in trace.spans)


# Failing


@pytest.mark.parametrize("models", [("fail", "nap"), ("nap", "fail")])
def test_an_error_is_raised_when_nothing_is_under_way(toys: Toys, at_once: None, models: tuple[str, str]) -> None:
    with branches(*models) as session:
        for _ in range(3):
            with pytest.raises(DeviceError) as caught:
                session(image(2))
            assert (caught.value.step, session.stats().active, session.state) == (2 * models.index("fail"), 0, "READY")


def test_of_several_errors_the_loss_of_a_device_is_raised(toys: Toys, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(x: Any) -> list[Any]:
        time.sleep(10 * NAP_S)
        raise DeviceError("too slow", vendor_code=3)

    monkeypatch.setitem(FUNCTIONS, "nap", slow)
    for models in (("nap", "lose"), ("lose", "nap")):
        with branches(*models) as session:
            with pytest.raises(DeviceLost):
                session(image(2))
            assert session.state == "FAILED"


def test_a_failed_run_leaves_the_next_one_right(toys: Toys, at_once: None) -> None:
    make, expected = SHAPES["two devices"]
    with load(to_bytes(make())) as session:
        session(image(2))
        for k in range(1, 7):
            toys["toy"].entered.clear()
            toys["toy"].failing = range(k, k + 1)
            with pytest.raises(DeviceError):
                session(image(2))
            toys["toy"].failing = range(0)
            np.testing.assert_array_equal(session(image(2, k))["z"], expected(image(2, k))["z"])


def test_an_interrupt_waits_for_what_is_under_way(toys: Toys, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    def slow(x: Any) -> list[Any]:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(5)
            raise KeyboardInterrupt
        begun.set()
        time.sleep(NAP_S)
        ended.set()
        return [x * 2]

    monkeypatch.setitem(FUNCTIONS, "nap", slow)
    with branches("nap", "nap") as session:
        with pytest.raises(KeyboardInterrupt):
            session(image(2))
        assert ended.is_set()
        assert session.stats().active == 0
        monkeypatch.setitem(FUNCTIONS, "nap", lambda x: [x * 2])
        np.testing.assert_array_equal(session(image(2))["y0"], 4 * image(2))


def test_a_deadline_that_passes_in_a_helper(toys: Toys, at_once: None) -> None:
    HANG.clear()
    session = branches("hang", "nap")
    try:
        started = time.monotonic()
        with pytest.raises(DeviceError):
            session.run({"x": image(2)}, deadline_s=0.05)
        assert time.monotonic() - started < 5  # the model would hang for 30
        assert session.state == "FAILED"
        session.close()
    finally:
        HANG.set()
    until = time.monotonic() + 5
    while not all(driver.closed for driver in toys["toyhost"].drivers) and time.monotonic() < until:
        time.sleep(0.01)
    assert all(driver.closed for driver in toys["toyhost"].drivers)


def test_without_threads_the_run_goes_on_alone(toys: Toys, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with branches("double", "double", "double") as session:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none)
            for rows in (2, 3):
                outputs = session(image(rows))
                for name in ("y0", "y1", "y2"):
                    np.testing.assert_array_equal(outputs[name], 4 * image(rows))
        np.testing.assert_array_equal(session(image(2))["y2"], 4 * image(2))


def test_many_threads_with_overlap(toys: Toys, at_once: None) -> None:
    make, expected = SHAPES["two devices"]
    wrong: list[Any] = []
    with load(to_bytes(make())) as session:

        def work(seed: int) -> None:
            for i in range(40):
                x = image(1 + (seed + i) % 3, 100 * seed + i)
                outputs = session(x)
                wrong.extend(name for name, value in expected(x).items() if not np.array_equal(outputs[name], value))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert wrong == []


def test_the_check_of_memory_is_needed(toys: Toys, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: without it, models that use the same memory one after the other disturb each other."""

    def blind(binding: Any, steps: Any) -> list[set[int]]:
        return [set() for _ in steps]

    def four(x: Any) -> list[Any]:
        time.sleep(NAP_S / 2)
        return [np.full_like(x, 4)]

    monkeypatch.setitem(FUNCTIONS, "fill", four)
    data = to_bytes(_reusing())
    with monkeypatch.context() as patch, load(data) as session:
        patch.setattr(overlap, "_conflicts", blind)
        np.testing.assert_array_equal(session(image(2))["z"], 4 * image(2), err_msg="twice what the other model left there")
    with load(data) as session:
        outputs = session(image(2))
        np.testing.assert_array_equal(outputs["y"], 2 * image(2))
        np.testing.assert_array_equal(outputs["z"], np.full((2, 3), 8))


def _reusing() -> Any:
    """Return an artifact of a model whose result is copied out before two others use its memory for what goes from one to the other."""
    memory: dict[str, Any] = {"nbytes": GEAR, "device": "toy0"}
    buffers = [
        tensor("x", "input"),
        tensor("x", "arena", **memory),
        tensor("t", "arena", offset=GEAR_ALIGNED, **memory),
        tensor("u", "arena", offset=GEAR_ALIGNED, **memory),
        tensor("v", "arena", offset=["*", 2, GEAR_ALIGNED], **memory),
        tensor("y", "arena"),
        tensor("z", "arena", offset=N3_ALIGNED),
    ]
    steps: list[Step] = [
        Copy(0, 1, ()),
        Extern("nap", "toy0", (1,), (2,), (0,)),
        Copy(2, 5, (1,)),
        Extern("fill", "toy0", (1,), (3,), (0,)),
        Extern("again", "toy0", (3,), (4,), (3,)),
        Copy(4, 6, (4,)),
    ]
    records = [extern("nap"), extern("fill"), extern("again", function="nap")]
    return artifact(plan(buffers, steps, {"x": 0}, {"y": 5, "z": 6}), records)
