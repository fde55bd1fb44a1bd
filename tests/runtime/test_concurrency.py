"""Sessions on many threads: leases, draining, failing, deadlines."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import DeviceError, DeviceLost, DeviceTimeout, InputError, SessionClosed, UsageError
from landbridge.runtime.plan import Segment
from landbridge.runtime.session import Session
from support.plans import GEAR, WEIGHTS, artifact, device_plan, extern, plan, tensor
from support.sessions import Toys, device_session, host_session, image, model_session
from support.timing import least
from support.toy_vendor import HANG, NAP_S


def segment_session(symbol: str, **options: Any) -> Session:
    """Return a session on one segment of `support.host_code`."""
    steps = [Segment(symbol, (0, 1), ("n",), (1,), ("Identity",), ())]
    return load(to_bytes(artifact(plan([tensor("x", "input"), tensor("y", "arena")], steps, {"x": 0}, {"y": 1}))), **options)


def on_toy(model: str, device: str = "toy0") -> Session:
    return model_session([tensor("x", "input", device, nbytes=GEAR), tensor("y", "arena", device, nbytes=GEAR)], model, device)


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What ends a hang; it is ended at the end of the test."""
    HANG.clear()
    yield HANG
    HANG.set()


def elapsed(session: Session, threads: int, runs: int) -> float:
    """Return the seconds that so many threads take for so many runs each."""
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for outputs in pool.map(session, [image(2)] * (threads * runs)):
            np.testing.assert_array_equal(outputs["y"], image(2))
    return time.perf_counter() - started


# Leases


def test_host_code_runs_in_parallel() -> None:
    with segment_session("lb_nap") as session:
        session.warm_up({"n": 2}, leases=2)
        assert least(lambda: elapsed(session, 2, 10), enough=1.5 * 10 * NAP_S) < 1.5 * 10 * NAP_S
        assert session.stats().leases == 2


def test_with_one_lease_runs_take_turns() -> None:
    """The positive control of the test above."""
    with segment_session("lb_nap", leases=1) as session:
        assert elapsed(session, 2, 5) >= 2 * 5 * NAP_S
        assert session.stats().leases == 1
    with pytest.raises(UsageError, match="0 leases"):
        segment_session("lb_nap", leases=0)


@pytest.mark.parametrize("concurrent", [False, True])
def test_a_model_runs_one_at_a_time_unless_its_driver_says_otherwise(toys: Toys, monkeypatch: Any, concurrent: bool) -> None:
    toys["toyhost"].concurrent = concurrent
    lock, active, most = threading.Lock(), 0, 0

    def count(x: Any) -> list[Any]:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        time.sleep(0.02)
        with lock:
            active -= 1
        return [x * 2]

    monkeypatch.setitem(__import__("support.toy_vendor", fromlist=["FUNCTIONS"]).FUNCTIONS, "nap", count)
    with on_toy("nap", "toyhost0") as session, ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: session.run({"x": image(2)}), range(6)))
    assert (most > 1) == concurrent


def test_threads_wait_where_there_is_no_memory_for_another_lease(toys: Toys) -> None:
    toys["toy"].budget = 1200
    with device_session() as session:
        with ThreadPoolExecutor(4) as pool:
            for start, outputs in enumerate(pool.map(session, [image(20, start) for start in range(40)])):
                np.testing.assert_array_equal(outputs["y"], 4 * image(20, start) + WEIGHTS)
        assert 1 <= session.stats().leases <= 2


def test_threads_with_many_extents(toys: Toys) -> None:
    with device_session() as session, ThreadPoolExecutor(8) as pool:
        rows = [1 + (7 * i) % 13 for i in range(300)]
        for n, outputs in zip(rows, pool.map(session, [image(n, n) for n in rows]), strict=True):
            np.testing.assert_array_equal(outputs["y"], 4 * image(n, n) + WEIGHTS)
        stats = session.stats()
    assert (stats.runs, stats.failures, stats.active) == (300, 0, 0)
    assert len(session._life.leases.extents()) == 0


def test_warming_up_makes_leases(toys: Toys) -> None:
    with device_session() as session:
        session.warm_up({"n": 5}, leases=3)
        assert (session.stats().leases, session.stats().runs) == (3, 3)
        with pytest.raises(InputError, match="warm_up: extents of nothing\n  hint: give the extent of each dimension: n"):
            session.warm_up()
    toys["toy"].budget = 1200  # for one lease of 20 rows
    with device_session() as session:
        session.warm_up({"n": 20}, leases=3)
        assert session.stats().runs == 3


def test_what_a_session_has_done() -> None:
    steps = [Segment("lb_check", (0, 1), ("n",), (1,), ("Sqrt",), ())]
    what = plan([tensor("x", "input"), tensor("y", "arena")], steps, {"x": 0}, {"y": 1})
    with load(to_bytes(artifact(what))) as session:
        for rows in range(1, 11):
            session(image(rows))
        with pytest.raises(DeviceError):
            session(-1 - image(2))
        session(image(10))
        stats = session.stats()
        assert (stats.state, stats.runs, stats.failures, stats.active, stats.leases, stats.bound) == ("READY", 11, 1, 0, 8, 0)
        assert stats.elapsed_ns > 0
    assert session.stats().state == "CLOSED"


# Errors


def test_an_error_says_where_it_happened_and_what_the_session_is_then(toys: Toys) -> None:
    with on_toy("fail") as session:
        bound = session.bind({"x": session.to_device(image(2), "toy0")}, {"y": session.to_device(image(2), "toy0")})
        for call in (lambda: session(image(2)), bound):
            with pytest.raises(DeviceError) as caught:
                call()
            error = caught.value
            assert (error.step, error.device, error.vendor_code, error.vendor_text, error.state) == (0, "toy0", 9, "toy error 9", "READY")


def test_a_lost_device_fails_the_session(toys: Toys) -> None:
    session = on_toy("lose")
    bound = session.bind({"x": session.to_device(image(2), "toy0")}, {"y": session.to_device(image(2), "toy0")})
    with pytest.raises(DeviceLost) as caught:
        session(image(2))
    assert (str(caught.value), caught.value.state) == ("step 0, lose.toy on toy0: the toy is gone", "FAILED")
    calls = len(toys["toy"].drivers[0].calls)
    for call in (lambda: session(image(2)), bound, lambda: session.to_device(image(2), "toy0"), lambda: session.run_async({})):
        with pytest.raises(DeviceLost) as again:
            call()
        assert str(again.value).startswith("step 0, lose.toy on toy0: the session on 'toy.onnx' has failed: the toy is gone\n  hint: ")
        assert (again.value.state, again.value.device) == ("FAILED", "toy0")
    assert len(toys["toy"].drivers[0].calls) == calls
    session.close()
    assert session.state == "CLOSED"
    with pytest.raises(SessionClosed):
        session(image(2))


# Closing


def test_closing_waits_for_runs_under_way_and_lets_none_begin(toys: Toys, hang: threading.Event) -> None:
    session = on_toy("hang", "toyhost0")
    later = session.run_async({"x": image(2)})
    while session.stats().active == 0:
        time.sleep(0.001)
    with pytest.raises(DeviceTimeout) as caught:
        session.close(timeout=0.02)
    assert str(caught.value) == "the session on 'toy.onnx' has a run under way for longer than 0.02 s\n  hint: call close again to wait on"
    assert (caught.value.state, session.state) == ("DRAINING", "DRAINING")
    with pytest.raises(SessionClosed, match="is being closed"):
        session(image(2))
    closer = threading.Thread(target=session.close)
    closer.start()
    time.sleep(0.02)
    assert closer.is_alive()
    hang.set()
    assert later.result(5)["y"].shape == (2, 3)
    closer.join(5)
    assert session.state == "CLOSED"
    session.close()


def test_closing_while_other_threads_begin_runs(toys: Toys) -> None:
    for _ in range(20):
        session = device_session()

        def work() -> int:
            for count in itertools.count():
                try:
                    outputs = session(image(1 + count % 3))  # noqa: B023 - the threads end within the loop
                except SessionClosed:
                    return count
                np.testing.assert_array_equal(outputs["y"], 4 * image(1 + count % 3) + WEIGHTS)
            raise AssertionError("a run after the close was not refused")

        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(work) for _ in range(4)]
            time.sleep(0.002)
            session.close()
            assert all(run.result() >= 0 for run in runs)
        assert toys["toy"].drivers[-1].closed


def test_a_session_that_is_collected_ends_its_threads(toys: Toys) -> None:
    before = threading.active_count()
    session = device_session()
    assert session.run_async({"x": image(2)}).result(5)["y"].shape == (2, 3)
    del session
    gc.collect()
    assert toys["toy"].drivers[0].closed
    for _ in range(500):
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before


# Deadlines


def test_a_run_within_its_deadline_is_a_run(toys: Toys) -> None:
    with device_session() as session:
        np.testing.assert_array_equal(session.run({"x": image(2)}, deadline_s=10)["y"], 4 * image(2) + WEIGHTS)
        with pytest.raises(InputError, match="there is no input 'z'"):
            session.run({"z": image(2)}, deadline_s=10)
    with on_toy("fail") as session, pytest.raises(DeviceError, match="the toy broke"):
        session.run({"x": image(2)}, deadline_s=10)


def test_a_missed_deadline_fails_the_session_and_leaves_the_run_alone(toys: Toys, hang: threading.Event) -> None:
    session = on_toy("hang", "toyhost0")
    started = time.monotonic()
    with pytest.raises(DeviceTimeout) as caught:
        session.run({"x": image(2)}, deadline_s=0.1)
    assert 0.1 <= time.monotonic() - started < 0.2 + 1  # the promise is 0.1 more; the rest is for a busy machine
    error = caught.value
    message = "step 0, hang.toy on toyhost0: not done within 0.1 s\n  hint: give more time, or look at what the device does"
    assert (str(error), error.step, error.device, error.state) == (message, 0, "toyhost0", "FAILED")
    started = time.monotonic()
    with pytest.raises(DeviceTimeout, match="has failed: not done within"):
        session(image(2))
    session.close()
    assert time.monotonic() - started < 5  # the model would hang for 30
    assert not toys["toyhost"].drivers[0].closed, "what the run that hangs may still use"
    hang.set()
    for _ in range(500):
        if toys["toyhost"].drivers[0].closed:
            break
        time.sleep(0.01)
    assert toys["toyhost"].drivers[0].closed


def test_a_deadline_that_passes_while_waiting_leaves_the_session_as_it_was(toys: Toys, hang: threading.Event) -> None:
    what = artifact(
        plan([tensor("x", "input", "toyhost0"), tensor("y", "arena", "toyhost0")], [_hang_step()], {"x": 0}, {"y": 1}),
        [extern("hang", "toyhost0")],
    )
    with load(to_bytes(what), leases=1) as session:
        first = session.run_async({"x": image(2)})
        while session.stats().active == 0:
            time.sleep(0.001)
        with pytest.raises(DeviceTimeout) as caught:
            session.run({"x": image(2)}, deadline_s=0.05)
        assert (caught.value.state, caught.value.step) == ("READY", None)
        hang.set()
        assert first.result(5)["y"].shape == (2, 3)
        assert session(image(2))["y"].shape == (2, 3)


def _hang_step() -> Any:
    from landbridge.runtime.plan import Extern

    return Extern("hang", "toyhost0", (0,), (1,), ())


def test_interleaved_threads_see_only_their_own_data(toys: Toys) -> None:
    import sys

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with host_session() as hosts, load(to_bytes(artifact(device_plan(), [extern("double")]))) as session:

            def work(seed: int) -> None:
                for i in range(60):
                    x = image(1 + (seed + i) % 5, seed * 100 + i)
                    np.testing.assert_array_equal(session(x)["y"], 4 * x + WEIGHTS)
                    np.testing.assert_array_equal(hosts(x)["y"], 2 * (x + WEIGHTS))

            with ThreadPoolExecutor(8) as pool:
                for done in [pool.submit(work, seed) for seed in range(8)]:
                    done.result()
    finally:
        sys.setswitchinterval(interval)
