"""Advice is given where it is true, and not where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from landbridge.advice import advise
from landbridge.latency import ELSEWHERE, Measured, Spread, StepTime
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.execute import PHASES
from landbridge.runtime.report import Crossing, Fallback, Report
from support.plans import there_and_back

STEPS = (
    StepTime(0, "host", "clean", 100),
    StepTime(1, "copy in", "clean", 100),
    StepTime(2, "execute", "net.om", 100),
    StepTime(3, "copy out", "score", 100),
)

STEADY = Spread(p50=1000, p90=1000, p99=1000, min=1000, max=1000, mean=1000, variation=0.01)


def artifact(vendor: str = "atlas", **report: Any) -> Artifact:
    crossing = Crossing("clean", "float32", (4,), 16, "cpu", "atlas0", "clean", "net.om", "needed there", remedy="feed uint8")
    return there_and_back(vendor, Report(copies=(crossing,), **report))


def measured(
    shares: Mapping[str, float] | None = None, *, first_ns: int = 1000, latency: Spread = STEADY, steps: tuple[StepTime, ...] = STEPS
) -> Measured:
    given = dict.fromkeys((*PHASES, ELSEWHERE), 0.0) | dict(shares or {})
    return Measured(first_ns, 10, latency, {}, given, 1.0, steps)


def advice(
    found: Measured, what: Artifact | None = None, *, inputs: Any = None, launches: str = "", simulated: tuple[str, ...] = ()
) -> Any:
    return advise(found, what or artifact(), inputs or {}, launches, simulated)


def test_nothing_much_is_nothing_to_say() -> None:
    assert advice(measured({"host": 0.24, "copy in": 0.24, "execute": 0.24, "copy out": 0.24})) == []


@pytest.mark.parametrize(
    ("phase", "line"),
    [
        ("host", "62% of the latency is the CPU's own code: clean"),
        ("copy in", "62% of the latency is copying in: clean; feed uint8"),
        ("copy out", "62% of the latency is copying out: score"),
        ("execute", "62% of the latency is in offline models: net.om: a faster one is all that would help much"),
        ("inputs", "62% of the latency is taking the inputs in"),
        ("outputs", "62% of the latency is giving the outputs out"),
        (
            "elsewhere",
            "62% of the latency is neither in steps nor in copies, but in the session itself; "
            "session.bind() leaves out what can be done once, where the arrays stay the same",
        ),
    ],
)
def test_the_phase_that_takes_the_time_is_named(phase: str, line: str) -> None:
    assert advice(measured({phase: 0.62})) == [line]


def test_the_largest_part_comes_first_and_names_its_heaviest_step() -> None:
    steps = (*STEPS, StepTime(0, "host", ", ".join("abcdef"), 900))
    assert advice(measured({"host": 0.6, "copy in": 0.3}, steps=steps)) == [
        "60% of the latency is the CPU's own code, mostly a, b, c, d and 2 more",
        "30% of the latency is copying in: clean; feed uint8",
    ]


def test_a_simulator_is_not_advised_upon() -> None:
    lines = advice(measured({"execute": 0.9}), launches="net.om: 20 -> 8+8+4", simulated=("atlas",))
    assert lines == ["90% of the latency is the simulator of atlas: these figures say nothing about the hardware"]


def test_a_batch_in_several_launches_is_said() -> None:
    lines = advice(measured({"execute": 0.9}), launches="net.om: 20 -> 8+8+4\nother.om: 4 -> 4")
    assert lines[1:] == ["net.om: 20 -> 8+8+4: one launch would do if the model had such a gear"]


def test_a_fallback_region_that_takes_its_time_is_said_with_its_reason() -> None:
    what = artifact("onnxruntime", fallbacks=(Fallback("score", ("nms",), "onnxruntime", "NonMaxSuppression cannot be lowered"),))
    line = "10% of the latency is the fallback region of score, which is not native: NonMaxSuppression cannot be lowered"
    assert advice(measured(), what) == [line]
    assert advice(measured(steps=tuple(replace(step, p50=99) for step in STEPS)), what) == []


def test_inputs_that_are_copied_for_their_alignment_are_named() -> None:
    raw = np.zeros(256, np.uint8)
    shift = -raw.ctypes.data % 64
    aligned, shifted = raw[shift : shift + 64], raw[shift + 1 : shift + 65]
    given = {"good": aligned, "bad": shifted}
    assert advice(measured({"inputs": 0.12}), inputs=given) == ["12% of the latency is copying bad, not dense and aligned to 64 bytes"]
    assert advice(measured({"inputs": 0.12}), inputs={"good": aligned}) == []


def test_figures_that_vary_and_a_slow_first_run_are_said() -> None:
    assert advice(measured(latency=replace(STEADY, variation=0.11)))[0].startswith("the latency varies by 11% of its mean: ")
    assert advice(measured(first_ns=6000)) == [
        "the first run took 6 times as long as the median: call session.warm_up() before the first request"
    ]
