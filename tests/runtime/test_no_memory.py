"""Python's allocations fail, each in its turn: a `MemoryError` comes, nothing is lost, the next run is right."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("_testcapi") is None, reason="this Python cannot let allocations fail")

SHAPE = "a model between segments"
OTHERS = ("two devices", "a shape that depends on the data", "host code")

long = pytest.mark.long


def enumerate_allocations(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an enumeration in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    command = [sys.executable, "-X", "faulthandler", "-m", "support.no_memory", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540, check=False)


@pytest.mark.parametrize(
    ("job", "shape", "least"),
    [
        ("runs", SHAPE, 200),
        ("loads", SHAPE, 200),
        ("fails", SHAPE, 30),
        pytest.param("crosses", SHAPE, 50, marks=long),
        pytest.param("closes", SHAPE, 50, marks=long),
        pytest.param("binds", SHAPE, 300, marks=long),
        pytest.param("reads", SHAPE, 2000, marks=long),
        *(pytest.param("runs", shape, 100, marks=long) for shape in OTHERS),
        pytest.param("loads", "host code", 100, marks=long),
    ],
)
def test_each_allocation_fails_in_its_turn(job: str, shape: str, least: int) -> None:
    result = enumerate_allocations(job, shape, "1")
    assert result.returncode == 0, result.stderr[-3000:]
    tried, showed = map(int, result.stdout.split())
    assert tried > showed > least


@long
def test_the_enumeration_notices_what_is_lost() -> None:
    """The positive control: a prepared call that is noted only after it was made."""
    result = enumerate_allocations("binds", SHAPE, "1", "careless")
    assert result.returncode != 0
    assert "closed with models or prepared calls" in result.stderr
