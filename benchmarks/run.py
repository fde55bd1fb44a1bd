"""Measure the demo's model: compile, load, and the latency of a run beside ONNX Runtime's. ``make overheads`` runs this.

Figures of one run on one machine: compare the ratios, not the times. The Atlas is simulated, so the rows with it measure the
simulator; "host only" is the whole model as native code.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

import landbridge as lb
from landbridge.demo.data import load_digits
from landbridge.demo.model import digits_model

ROUNDS = 200


def interleaved(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of each call in microseconds; they take turns, so that drift hits all alike."""
    taken: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter_ns()
            call()
            taken[name].append(time.perf_counter_ns() - started)
    return {name: statistics.median(times) / 1e3 for name, times in taken.items()}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call gives and how many milliseconds it took."""
    started = time.perf_counter()
    return call(), (time.perf_counter() - started) * 1e3


def main() -> None:
    """Measure and print."""
    model = digits_model()
    program, importing = timed(lambda: lb.from_onnx(model, name="digits.onnx"))
    compiled, compiling = timed(lambda: lb.compile(program))
    data = compiled.to_bytes()
    session, loading = timed(lambda: lb.load(data))
    print(f"import {importing:.0f} ms, compile {compiling:.0f} ms, load {loading:.1f} ms, artifact {len(data)} bytes")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    reference = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for batch in (1, 20):
        images = np.ascontiguousarray(load_digits().test_images[:batch])
        medians = interleaved(
            {
                "host only": lambda images=images: session.run({"image": images}),  # type: ignore[misc]  # bound for this round
                "onnxruntime, 1 thread": lambda images=images: reference.run(None, {"image": images}),  # type: ignore[misc]  # as above
            }
        )
        baseline = medians["onnxruntime, 1 thread"]
        for name, median in medians.items():
            print(f"batch {batch:<3} {name:<24}{median:>9.1f} us  {median / baseline:>6.2f} x")


if __name__ == "__main__":
    main()
