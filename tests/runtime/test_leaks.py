"""What is counted does not grow: descriptors, mappings, threads, Python's blocks, C's heap, vendors' handles."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import DeviceError, InputError
from support.counts import Counts, counts
from support.graph_shapes import SHAPES
from support.sessions import Toys, forget_calls, image

SLACK = {"blocks": 64, "heap": 8192}
"""For caches of the interpreter; one block or 8 bytes a time would be more than ten times that."""


def grown(job: Callable[[], Any], times: int) -> Counts:
    """Return what grows whenever ``job`` is done so many times: caches fill up at first, a leak goes on."""
    found: Counts = {}
    for _ in range(5):
        before = counts()
        for _ in range(times):
            job()
        after = counts()
        found = {name: after[name] - before[name] for name in before if after[name] - before[name] > SLACK.get(name, 0)}
        if not found:
            break
    return found


@pytest.fixture(autouse=True)
def _quick_collections() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("shape", SHAPES)
def test_runs_leak_nothing(toys: Toys, shape: str) -> None:
    make, _ = SHAPES[shape]
    x = image(3)
    with load(to_bytes(make())) as session:

        def job() -> None:
            session(x)
            forget_calls(toys)

        job()
        handles = [(len(driver.memory.blocks), driver.prepared) for vendor in toys.values() for driver in vendor.drivers]
        assert grown(job, 2000) == {}
        assert handles == [(len(driver.memory.blocks), driver.prepared) for vendor in toys.values() for driver in vendor.drivers]


@pytest.mark.parametrize("shape", SHAPES)
def test_sessions_leak_nothing(toys: Toys, shape: str) -> None:
    make, _ = SHAPES[shape]
    data = to_bytes(make())

    def job() -> None:
        with load(data) as session:
            session(image(3))
        for vendor in toys.values():
            vendor.entered.clear()
            vendor.drivers.clear()

    assert grown(job, 100) == {}


def test_threads_and_streams_leak_nothing(toys: Toys) -> None:
    data = to_bytes(SHAPES["host code"][0]())

    def job() -> None:
        with load(data) as session:
            list(session.stream(({"x": image(2)} for _ in range(3)), depth=2))
            bound = session.bind({"x": image(2)}, {"y": np.empty((2, 3), np.float32)})
            bound()
        for thread in threading.enumerate():
            if thread.name == "landbridge":
                thread.join(5)

    assert grown(job, 60) == {}


def test_refused_inputs_and_failing_runs_leak_nothing(toys: Toys) -> None:
    with load(to_bytes(SHAPES["a model between segments"][0]())) as session:
        session(image(2))
        vendor = toys["toy"]

        def job() -> None:
            with pytest.raises(InputError):
                session.run({"z": image(2)})
            vendor.entered.clear()
            vendor.failing = range(2, 3)
            with pytest.raises(DeviceError):
                session(image(2))
            vendor.failing = range(0)
            vendor.drivers[0].calls.clear()

        assert grown(job, 300) == {}


kept: list[Any] = []


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        (lambda: kept.append(object()), "blocks"),
        (lambda: ctypes.CDLL(None).malloc(100), "heap"),
        (lambda: kept.append(os.dup(0)), "descriptors"),
    ],
)
def test_a_leak_is_noticed(leak: Callable[[], Any], name: str) -> None:
    """The positive control: one a time, of the smallest kind."""
    assert name in grown(leak, 200)
    for item in kept:
        if isinstance(item, int):
            os.close(item)
    kept.clear()
