"""Everything that a simulator can be told to do, seen through the driver and the session; and how long copies and models take."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import DeviceError, DeviceLost, DeviceTimeout
from landbridge.runtime.overlap import _TRIES
from landbridge.runtime.session import Session
from landbridge.runtime.vendors.cambricon.cnrt import _PROTOTYPES
from support.simulated import ROWS, Machine, machine, relus
from support.timing import least

VENDORS = ("atlas", "cambricon")

EXECUTE = {"atlas": "aclmdlExecute", "cambricon": "cnrtInvokeRuntimeContext"}
COPY = {"atlas": "aclrtMemcpyAsync", "cambricon": "cnrtMemcpyAsync"}
ALLOCATE = {"atlas": "aclrtMalloc", "cambricon": "cnrtMalloc"}
SIZE = {"atlas": "aclmdlGetOutputSizeByIndex", "cambricon": "cnrtGetOutputDataSize"}
DTYPE = {"atlas": "aclmdlGetOutputDataType", "cambricon": "cnrtGetOutputDataType"}
LOST = {"atlas": 507015, "cambricon": 632032}
KINDS = {
    "atlas": ("bytes", "buffer", "host", "stream", "model", "dataset", "context"),
    "cambricon": ("bytes", "buffer", "host", "model", "function", "context", "queue"),
}

X = (np.arange(12, dtype=np.float32).reshape(ROWS, 3) - 5) / 4
"""What float16, in which the simulated cards compute, has exactly."""


@pytest.fixture(params=VENDORS)
def sim(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with machine(request.param, monkeypatch) as made:
        yield made


def session_on(sim: Machine, *devices: int, width: int = 3) -> Session:
    return load(to_bytes(relus(sim.vendor, devices or (0,), width)))


def check(session: Session) -> None:
    for output in session(X).values():
        np.testing.assert_array_equal(output, np.maximum(X, 0))


# Each mode


def test_a_failure_that_passes(sim: Machine) -> None:
    for function in (EXECUTE[sim.vendor], COPY[sim.vendor]):
        with session_on(sim) as session:
            check(session)
            assert sim.fault(function, 1, "fail")
            with pytest.raises(DeviceError) as caught:
                session(X)
            assert (type(caught.value), caught.value.state) == (DeviceError, "READY")
            check(session)
        assert sim.live(*KINDS[sim.vendor]) == {}


def test_a_failure_that_lasts(sim: Machine) -> None:
    with session_on(sim) as session:
        assert sim.fault(EXECUTE[sim.vendor], 2, "lasting")
        check(session)
        for _ in range(3):
            with pytest.raises(DeviceError, match="injected fault"):
                session(X)
            assert session.state == "READY"


def test_no_memory(sim: Machine) -> None:
    assert sim.fault(ALLOCATE[sim.vendor], 1, "oom")
    with pytest.raises(DeviceError, match="no room for"):
        session_on(sim)(X)
    with session_on(sim) as session:
        check(session)


@pytest.mark.parametrize("call", ["execute", "copy"])
def test_a_device_that_is_lost_fails_the_session(sim: Machine, call: str) -> None:
    session = session_on(sim)
    x = session.to_device(X, f"{sim.vendor}0")
    bound = session.bind({"x": X}, {"y0": np.empty_like(X)})
    check(session)
    assert sim.fault({"execute": EXECUTE, "copy": COPY}[call][sim.vendor], 1, "sticky")
    with pytest.raises(DeviceLost) as caught:
        session(X)
    assert (caught.value.vendor_code, caught.value.state, caught.value.device) == (LOST[sim.vendor], "FAILED", f"{sim.vendor}0")
    started = time.monotonic()
    for later in (lambda: session(X), bound, lambda: session.to_device(X, f"{sim.vendor}0"), lambda: session.run_async({"x": X})):
        with pytest.raises(DeviceLost, match="has failed"):
            later()
    assert time.monotonic() - started < 1
    session.close()
    assert session.state == "CLOSED"
    with pytest.raises(DeviceLost):
        load(to_bytes(relus(sim.vendor)))(X)
    del x


def test_a_lost_device_is_told_from_a_lack_of_memory(sim: Machine) -> None:
    with session_on(sim) as session:
        check(session)
        assert sim.fault(ALLOCATE[sim.vendor], 1, "sticky")
        with pytest.raises(DeviceLost):
            session.to_device(np.zeros((100, 100), np.float32), f"{sim.vendor}0")


def test_a_call_that_hangs_is_left_alone_when_its_deadline_has_passed(sim: Machine) -> None:
    session = session_on(sim)
    check(session)
    assert sim.fault(EXECUTE[sim.vendor], 1, "hang")
    started = time.monotonic()
    with pytest.raises(DeviceTimeout) as caught:
        session.run({"x": X}, deadline_s=0.1)
    assert 0.1 <= time.monotonic() - started < 0.2 + 1  # the promise is 0.1 more; the rest is for a busy machine
    assert (caught.value.step, caught.value.state) == (1, "FAILED")
    session.close()
    assert sim.live("buffer") != {}, "what the call that hangs may still use"
    sim.release()
    until = time.monotonic() + 5
    while sim.live(*KINDS[sim.vendor]) and time.monotonic() < until:
        time.sleep(0.01)
    assert sim.live(*KINDS[sim.vendor]) == {}


def test_a_call_that_is_slow(sim: Machine) -> None:
    with session_on(sim) as session:
        assert sim.fault(EXECUTE[sim.vendor], 1, "slow")
        started = time.monotonic()
        check(session)
        assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize("what", ["size", "dtype"])
def test_a_model_that_is_described_otherwise_than_it_was_is_refused(sim: Machine, what: str) -> None:
    assert sim.fault({"size": SIZE, "dtype": DTYPE}[what][sim.vendor], 1, what)
    with pytest.raises(DeviceError, match="y"):
        session_on(sim)
    assert sim.live(*KINDS[sim.vendor]) == {}
    with session_on(sim) as session:
        check(session)


def test_a_model_that_writes_nothing_is_found_by_a_check(sim: Machine) -> None:
    with session_on(sim) as session:
        np.testing.assert_array_equal(session.check({"x": X})["y0"], np.maximum(X, 0))
        for k in (1, 2):
            assert sim.fault(EXECUTE[sim.vendor], k, "no write")
        with pytest.raises(DeviceError, match=f"it leaves {X.nbytes} of the {X.nbytes} bytes of output 't' as they were") as caught:
            session.check({"x": X})
        assert (caught.value.step, caught.value.device, caught.value.state) == (1, f"{sim.vendor}0", "READY")
        check(session)


def test_a_copy_that_writes_nothing_leaves_what_was_there(sim: Machine) -> None:
    """Nobody can see it but who compares results: ``landbridge verify``."""
    with session_on(sim) as session:
        check(session)
        assert sim.fault(COPY[sim.vendor], 1, "no write")
        session(X + 1)
        check(session)


def test_a_model_that_writes_too_much_is_found_by_a_check(sim: Machine) -> None:
    with session_on(sim) as session:
        assert sim.fault(EXECUTE[sim.vendor], 1, "overrun")
        with pytest.raises(DeviceError, match=r"it writes beyond the end of output 't' .48 bytes.: 64 bytes") as caught:
            session.check({"x": X})
        assert caught.value.step == 1
        check(session)


@pytest.mark.parametrize(
    ("mode", "function"), [("no write", "malloc"), ("overrun", "copy"), ("dtype", "execute"), ("size", "execute"), ("often", "execute")]
)
def test_a_function_does_wrong_only_what_it_can(sim: Machine, mode: str, function: str) -> None:
    name = {"malloc": ALLOCATE, "copy": COPY, "execute": EXECUTE}[function][sim.vendor]
    assert not sim.fault(name, 1, mode)


# Pinned memory


def test_what_is_copied_lies_in_pinned_memory_where_there_is_any(sim: Machine) -> None:
    with session_on(sim) as session:
        check(session)
        streams = {"atlas": {"stream": 2}, "cambricon": {"queue": 3}}[sim.vendor]  # one for each direction; there a model has its own
        assert sim.live("host", *streams) == {"host": 2, **streams}, "the arena of the host, where the output is too, and the input"
        assert sim.fault(COPY[sim.vendor].removesuffix("Async"), 1, "fail")
        check(session)  # which never comes there
    assert sim.live(*KINDS[sim.vendor]) == {}


@pytest.mark.parametrize(
    ("vendor", "function", "k"),
    [
        ("atlas", "aclrtMallocHost", 1),
        ("atlas", "aclrtCreateStream", 1),
        ("cambricon", "cnrtMallocHost", 1),
        ("cambricon", "cnrtCreateQueue", 2),
    ],
)
def test_without_pinned_memory_copies_wait(monkeypatch: pytest.MonkeyPatch, vendor: str, function: str, k: int) -> None:
    with machine(vendor, monkeypatch) as sim:
        assert sim.fault(function, k, "lasting")
        with session_on(sim) as session:
            check(session)
            assert sim.live("host") == {}
        assert sim.live(*KINDS[vendor]) == {}
        sim.reset()
        assert sim.fault(function, k, "sticky")
        with session_on(sim) as session, pytest.raises(DeviceLost):
            check(session)


@pytest.mark.parametrize("function", [name for name in _PROTOTYPES if not name.startswith(("cnrtDestroy", "cnrtFree", "cnrtUnload"))])
def test_any_call_of_libcnrt_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """All but those that free: what the vendor does not take back stays with it."""
    with machine("cambricon", monkeypatch) as sim:
        session_on(sim).close()  # the library is initialised
        for k in range(1, 9):
            assert sim.fault(function, k, "fail")
            with contextlib.suppress(DeviceError), session_on(sim) as session:
                with contextlib.suppress(DeviceError):
                    check(session)
                check(session)
            assert sim.live(*KINDS["cambricon"]) == {}
            sim.reset()


# How long things take


def elapsed(session: Session) -> float:
    started = time.perf_counter()
    session(X)
    return time.perf_counter() - started


@pytest.mark.parametrize("what", ["execute", "copy in", "copy out"])
def test_copies_and_executions_take_as_long_as_a_test_says(sim: Machine, what: str) -> None:
    with session_on(sim) as session:
        check(session)
        assert least(lambda: elapsed(session), enough=0.01) < 0.01
        sim.speed(what, 0.02)
        assert 0.02 <= least(lambda: elapsed(session), enough=0.03) < 0.03
        sim.speed(what, 0, 0 if what == "execute" else X.nbytes / 0.03)
        if what != "execute":
            assert 0.03 <= least(lambda: elapsed(session), enough=0.045) < 0.045


def test_calls_of_two_devices_take_as_long_as_the_longer(sim: Machine) -> None:
    sim.speed("execute", 0.02)
    sim.speed("copy in", 0.005)
    with session_on(sim, 0, 1) as session:
        for _ in range(2 * _TRIES):
            check(session)
        one = 0.025
        assert least(lambda: elapsed(session), enough=1.5 * one) < 1.5 * one, "one after the other it is twice as long"


def test_two_models_of_one_device_take_turns_there(sim: Machine) -> None:
    """Its unit does one thing at a time; a copy goes on meanwhile."""
    sim.speed("execute", 0.01)
    with session_on(sim, 0, 0) as session:
        for _ in range(2 * _TRIES):
            check(session)
        assert elapsed(session) >= 0.02


def test_a_copy_goes_on_while_a_model_runs(sim: Machine) -> None:
    """In a row it is twice 20 ms and 20 ms; the second copy in takes place during the first model."""
    sim.speed("execute", 0.02)
    sim.speed("copy in", 0.02)
    with session_on(sim, 0, 0) as session:
        for _ in range(2 * _TRIES):
            check(session)
        assert 0.06 <= least(lambda: elapsed(session), enough=0.075) < 0.075


def test_requests_in_a_stream_overlap_copies_and_models(sim: Machine) -> None:
    for what in ("execute", "copy in", "copy out"):
        sim.speed(what, 0.01)
    with session_on(sim) as session:

        def pace() -> float:
            ends = []
            for outputs in session.stream({"x": X} for _ in range(24)):
                ends.append(time.perf_counter())
                np.testing.assert_array_equal(outputs["y0"], np.maximum(X, 0))
            return (ends[-1] - ends[3]) / 20

        assert least(pace, enough=1.5 * 0.01) < 1.5 * 0.01, "one after the other it is 0.03"


def test_two_devices_hang_and_work_on_their_own(sim: Machine) -> None:
    with session_on(sim, 0) as stuck, session_on(sim, 1) as other:
        check(stuck)
        assert sim.fault(EXECUTE[sim.vendor], 1, "hang")
        thread = threading.Thread(target=stuck, args=(X,))
        thread.start()
        try:
            while stuck.stats().active == 0:
                time.sleep(0.001)
            time.sleep(0.01)
            check(other)
            assert thread.is_alive()
        finally:
            sim.release()
            thread.join(5)
