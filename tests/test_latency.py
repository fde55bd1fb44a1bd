"""Measuring: enough runs, the right figures, every caller's errors."""

from __future__ import annotations

import time
from typing import Any

import pytest

from landbridge.latency import ELSEWHERE, Effort, Spread, crowd, measure, streamed
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.execute import PHASES
from support.sessions import Toys, device_session, image
from support.toy_vendor import toy_vendors


@pytest.fixture
def toys() -> Any:
    with toy_vendors() as vendors:
        yield vendors


def test_a_spread_is_that_of_its_times() -> None:
    spread = Spread.of(list(range(101)))
    assert (spread.p50, spread.p90, spread.p99, spread.min, spread.max, spread.mean) == (50, 90, 99, 0, 100, 50)
    assert spread.variation == pytest.approx(0.583, abs=1e-3)
    assert Spread.of([7]).variation == 0


def test_an_effort_ends_with_the_runs_or_with_the_time() -> None:
    now = time.perf_counter()
    assert not Effort(3, 100).done(2, now)
    assert Effort(3, 100).done(3, now)
    assert Effort(None, 0).done(1, now)
    assert not Effort(None, 0).done(0, now)


def test_every_part_of_a_run_is_accounted_for(toys: Toys) -> None:
    calls = []
    with device_session() as session:
        measured = measure(session, {"x": image(2)}, Effort(7), warm_up=2, other=lambda: calls.append(1))
        assert session.stats().runs == 1 + 2 + 7 + 7  # the first, those to warm up, the measured, those with a profile
    assert measured.runs == 7
    assert len(calls) == 2 + 7
    assert measured.other is not None
    assert list(measured.phases) == [*PHASES, ELSEWHERE]
    assert sum(measured.shares.values()) == pytest.approx(1)
    assert [(step.step, step.phase, step.name) for step in measured.steps] == [
        (0, "host", "Mul"),
        (1, "copy in", "t"),
        (2, "execute", "double.toy"),
        (3, "copy out", "u"),
        (4, "host", "Add"),
    ]


def test_several_callers_share_the_runs() -> None:
    calls: list[int] = []
    found = crowd(lambda: calls.append(1), 3, Effort(9))
    assert (len(calls), found.callers) == (9, 3)
    assert found.per_second > 0


def test_the_error_of_a_caller_is_raised() -> None:
    def fail() -> None:
        raise DeviceError("out of order")

    with pytest.raises(DeviceError, match="out of order"):
        crowd(fail, 2, Effort(None, 5))


def test_a_stream_has_the_requests_that_were_asked_for(toys: Toys) -> None:
    with device_session() as session:
        assert streamed(session, {"x": image(2)}, Effort(9)) > 0
        assert session.stats().runs == 9
