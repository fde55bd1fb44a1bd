"""Interrupts at every line that the runtime executes: no lock stays held, nothing leaks, the next run is right."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import from_bytes, to_bytes
from landbridge.runtime.leases import Lease
from landbridge.runtime.session import Session
from support.graph_shapes import SHAPES
from support.interrupts import Interrupted
from support.session_uses import binds, check, crosses, runs, settle
from support.sessions import Toys, image

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one that comes while something is collected

DATA = {name: SHAPES[name] for name in ("a model between segments", "two devices", "a shape that depends on the data")}


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    """Let the garbage collector look only at what a test makes."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def at_every_line(job: Callable[[Interrupted], bool]) -> int:
    """Call ``job`` with an interrupt at each line in turn, until it ends without; return the number of lines."""
    line = 1
    while job(Interrupted(line)):
        line += 1
        assert line < 20_000
    return line


@pytest.mark.parametrize("shape", DATA)
def test_loading(toys: Toys, shape: str) -> None:
    make, expected = DATA[shape]
    read = from_bytes(to_bytes(make()))  # reading holds nothing but memory of Python

    def job(interrupt: Interrupted) -> bool:
        try:
            session = interrupt(lambda: Session(read))
        except KeyboardInterrupt:
            return True
        else:
            np.testing.assert_array_equal(np.asarray(next(iter(session(image(2)).values()))), next(iter(expected(image(2)).values())))
            session.close()
            return False
        finally:
            settle(toys)

    assert at_every_line(job) > 50


@pytest.mark.parametrize(
    ("shape", "use"),
    [*((shape, runs) for shape in DATA), pytest.param("two devices", binds, marks=pytest.mark.long), ("two devices", crosses)],
)
@pytest.mark.parametrize("fresh", [pytest.param(True, marks=pytest.mark.long, id="first"), pytest.param(False, id="again")])
def test_running(toys: Toys, shape: str, use: Callable[[Session], None], fresh: bool) -> None:
    make, expected = DATA[shape]
    data = to_bytes(make())

    def job(interrupt: Interrupted) -> bool:
        session = load(data)
        if not fresh:
            use(session)
        try:
            interrupt(lambda: use(session))
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        check(session, expected, interrupt.where)
        use(session)
        session.close(timeout=5)
        assert session.state == "CLOSED"
        settle(toys)
        return interrupted

    assert at_every_line(job) > 30


@pytest.mark.parametrize("shape", DATA)
def test_closing(toys: Toys, shape: str) -> None:
    data = to_bytes(DATA[shape][0]())

    def job(interrupt: Interrupted) -> bool:
        session = load(data)
        runs(session)
        try:
            interrupt(session.close)
            return False
        except KeyboardInterrupt:
            return True
        finally:
            session.close(timeout=5)
            assert session.state == "CLOSED", interrupt.where
            del session
            settle(toys)

    assert at_every_line(job) > 50


# Positive controls


def test_the_enumeration_notices_a_lease_that_is_lost(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(Lease):
        def __init__(self) -> None:
            super().__init__()
            self.turn = CarelessLock()  # type: ignore[assignment] # a lock in Python, which an interrupt can leave held

    monkeypatch.setattr("landbridge.runtime.leases.Lease", Careless)
    monkeypatch.setattr("support.interrupts._RUNTIME", __file__.rpartition("/")[0])
    with pytest.raises(AssertionError, match=r"a lease is lost|DeviceTimeout|test_interrupts.py"):
        test_running(toys, "two devices", runs, True)
    toys["toy"].drivers.clear()


class CarelessLock:
    def __init__(self) -> None:
        self.held = False

    def locked(self) -> bool:
        return self.held

    def __enter__(self) -> None:
        self.held = True
        self.held = True  # an interrupt here leaves it held

    def __exit__(self, *_: Any) -> None:
        self.held = False
