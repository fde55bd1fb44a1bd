"""The runner itself: what ends a child badly is told, and takes no other case along; results are compared strictly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conformance import pool
from conformance.cases import Case
from conformance.outcome import difference

_CASE = Case("one", "node", None, None, 1e-3, 1e-5)


def _crash(_: Case) -> tuple[str, str]:
    os.write(1, b"last words\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return "native", ""


def _hang(_: Case) -> tuple[str, str]:
    time.sleep(60)
    return "native", ""


def _native(_: Case) -> tuple[str, str]:
    return "native", ""


@pytest.mark.parametrize(
    ("run", "verdict", "reason"),
    [
        (_crash, "crashed", "signal 9: last words"),
        (_hang, "hung", "it did not end in time"),
        (_native, "native", ""),
    ],
)
def test_how_a_child_ends(monkeypatch: pytest.MonkeyPatch, run: Callable[[Case], Any], verdict: str, reason: str) -> None:
    monkeypatch.setattr(pool, "run_case", run)
    outcomes = list(pool.run_all([_CASE, _CASE], limit_s=0.5 if run is _hang else 30, compare=False))
    assert [(outcome.verdict, outcome.reason) for outcome in outcomes] == [(verdict, reason)] * 2


@pytest.mark.parametrize(
    ("found", "expected", "problem"),
    [
        (np.array([1, np.nan], np.float32), np.array([1.0005, np.nan], np.float32), ""),
        (
            np.array([1, 2], np.float32),
            np.array([1, 2.1], np.float32),
            "output 0: 1 of 2 values differ, the first at [1]: 2.0, expected 2.0999999046325684",
        ),
        (np.array([1], np.float64), np.array([1], np.float32), "output 0: float64, expected float32"),
        (np.array([[1]], np.float32), np.array([1], np.float32), "output 0: shape [1, 1], expected [1]"),
        (np.array(["a"], object), np.array(["b"], object), "output 0: other strings"),
    ],
)
def test_results_are_compared_strictly(found: Any, expected: Any, problem: str) -> None:
    assert difference([found], [expected], _CASE, is_random=False) == problem
