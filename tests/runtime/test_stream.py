"""Requests that nobody waits for: `run_async` and `stream`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime.errors import DeviceError, InputError, SessionClosed, UsageError
from support.plans import WEIGHTS
from support.sessions import Toys, device_session, host_session, image, pipeline
from support.timing import least
from support.toy_vendor import NAP_S


def test_a_run_that_nobody_waits_for() -> None:
    with host_session() as session:
        later = [session.run_async({"x": image(2, start)}) for start in range(20)]
        for start, future in enumerate(later):
            np.testing.assert_array_equal(future.result(5)["y"], 2 * (image(2, start) + WEIGHTS))
        with pytest.raises(InputError, match="there is no input 'z'"):
            session.run_async({"z": image(2)}).result(5)
    with pytest.raises(SessionClosed):
        session.run_async({"x": image(2)})


@pytest.mark.parametrize("depth", [1, 2, 7, None])
def test_outputs_come_in_order(toys: Toys, depth: int | None) -> None:
    requests = [image(1 + start % 4, start) for start in range(30)]
    with device_session() as session:
        found = list(session.stream(({"x": x} for x in requests), depth=depth))
    assert len(found) == 30
    for x, outputs in zip(requests, found, strict=True):
        np.testing.assert_array_equal(outputs["y"], 4 * x + WEIGHTS)


def test_no_more_requests_are_taken_than_the_depth_allows() -> None:
    taken = 0

    def requests() -> Iterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"x": image(2, taken)}

    with host_session() as session:
        results = session.stream(requests(), depth=3)
        assert taken == 0
        for count in range(1, 10):
            next(results)
            time.sleep(0.005)
            assert taken == count + 2


def test_the_first_error_comes_in_its_turn_and_ends_the_stream(toys: Toys) -> None:
    requests = [{"x": image(2)}, {"x": image(3)}, {"x": image(0).ravel()}, {"x": image(1)}] + [{"x": image(1)}] * 50
    with device_session() as session:
        results = session.stream(requests, depth=2)
        assert [next(results)["y"].shape for _ in range(2)] == [(2, 3), (3, 3)]
        with pytest.raises(InputError, match="1 axes, expected 2"):
            next(results)
        assert list(results) == []
        assert session.stats().active == 0
        assert session.stats().runs <= 3
        assert session(image(2))["y"].shape == (2, 3)


def test_an_error_of_the_iterator_comes_after_the_outputs_of_what_it_gave() -> None:
    def requests() -> Iterator[dict[str, Any]]:
        yield {"x": image(1)}
        yield {"x": image(2)}
        raise ValueError("the camera is gone")

    with host_session() as session:
        results = session.stream(requests(), depth=5)
        assert [next(results)["y"].shape for _ in range(2)] == [(1, 3), (2, 3)]
        with pytest.raises(ValueError, match="the camera is gone"):
            next(results)


def test_a_caller_that_goes_away_leaves_nothing_under_way(toys: Toys) -> None:
    with device_session() as session:
        for outputs in session.stream({"x": image(2)} for _ in range(100)):
            assert outputs["y"].shape == (2, 3)
            break
        assert session.stats().active == 0
    with pytest.raises(SessionClosed):
        session.stream([])


def test_a_depth_of_nothing() -> None:
    with host_session() as session, pytest.raises(UsageError, match="a depth of 0\n  hint: give 1 or more"):
        session.stream([], depth=0)


def test_a_device_that_fails_in_a_stream(toys: Toys) -> None:
    with device_session() as session:
        session(image(2))
        toys["toy"].failing = range(len(toys["toy"].entered) + 20, 10**6)
        with pytest.raises(DeviceError, match="was told to fail"):
            list(session.stream({"x": image(2)} for _ in range(100)))
        toys["toy"].failing = range(0)
        np.testing.assert_array_equal(session(image(2))["y"], 4 * image(2) + WEIGHTS)


@pytest.mark.parametrize("stages", [2, 3, 5])
def test_the_slowest_stage_sets_the_pace(toys: Toys, stages: int) -> None:
    def pace() -> float:
        requests = ({"x": image(2, start)} for start in range(24))
        begun, ends = time.perf_counter(), []
        for start, outputs in enumerate(session.stream(requests)):
            ends.append(time.perf_counter() - begun)
            np.testing.assert_array_equal(outputs["y"], 2 ** (stages // 2) * image(2, start))
        return (ends[-1] - ends[3]) / (len(ends) - 4)

    with pipeline(stages) as session:
        assert least(pace, enough=1.6 * NAP_S) < 1.6 * NAP_S, "one after the other it is as many naps as stages"
        serial = time.perf_counter()
        session(image(2))
        assert time.perf_counter() - serial > 0.95 * stages * NAP_S
