"""Run a case in Landbridge, ONNX Runtime, OpenVINO, NumPy and C by hand, in one process, taking turns.

A runtime's threads look for work for a while after a run (ONNX Runtime's for 50 ms), and would take the processor from the next: a turn
begins when they sleep, with a run that is not counted, after which everybody finds caches and threads as its own runs leave them.
"""

from __future__ import annotations

import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import processing_graphs

import landbridge as lb
from host.entries import Case
from host.stolen import Stolen

PEERS = ("landbridge", "onnxruntime", "openvino", "numpy", "hand")

Call = Callable[[], Any]

_PAUSE_S = 0.004

_QUIET = 0.05
"""The part of a pause that a process may compute whose threads all sleep: what the clock and the pause itself cost."""

_MOST_PAUSES = 250

_TURN_S = 0.004
"""For about how long one runs before the next."""

_MOST_S = 8.0
"""After so long there are no more rounds, when there have been some."""

_FEWEST = 5

_CALM = 0.01
"""The part of the time that others on the host may take while a case is measured; where they take more it is measured again."""

_TRIES = 4


@dataclass(frozen=True)
class Times:
    """What the runs of one took, in milliseconds: the median of all rounds, and the quarters around it."""

    median: float
    low: float
    high: float


def compare(case: Case, artifact: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Return the times of each who can run it, the largest difference to ONNX Runtime, and why somebody is missing.

    The times are those of the calmest try, with the part of the processors' time that others took even then.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        lb_model = case.model.SerializeToString()
        model.write_bytes(lb_model)
        calls, missing = _calls(case, artifact, model, threads)
    stolen, times = _in_a_calm(calls, rounds)
    found = {name: vars(taken) for name, taken in times.items()}
    return {"times": found, "stolen": stolen, "difference": _difference(calls), "missing": missing}


def _in_a_calm(calls: Mapping[str, Call], rounds: int) -> tuple[float, dict[str, Times]]:
    tries: list[tuple[float, dict[str, Times]]] = []
    while len(tries) < _TRIES and (not tries or tries[-1][0] > _CALM):
        meanwhile = Stolen()
        times = take_turns(calls, rounds)
        tries.append((meanwhile.part(), times))
    return min(tries, key=lambda tried: tried[0])


def take_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, Times]:
    """Return what each call takes."""
    repeats = {name: max(1, int(_TURN_S / _seconds(call))) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    until = time.perf_counter() + _MOST_S
    for number in range(rounds):
        if number >= _FEWEST and time.perf_counter() > until:
            break
        for name, call in calls.items():
            _let_threads_sleep()
            call()
            taken[name].append(statistics.median(_seconds(call) for _ in range(repeats[name])) * 1e3)
    return {name: Times(*(float(value) for value in np.percentile(values, (50, 25, 75)))) for name, values in taken.items()}


def _let_threads_sleep() -> None:
    """Wait until no thread of this process looks for work any more.

    Raises:
        RuntimeError: some thread never sleeps, so that nothing can be compared.
    """
    for _ in range(_MOST_PAUSES):
        computed = time.process_time()
        time.sleep(_PAUSE_S)
        if time.process_time() - computed < _QUIET * _PAUSE_S:
            return
    raise RuntimeError(f"threads have been computing for {_MOST_PAUSES * _PAUSE_S} s after a run: the next would be measured beside them")


def _seconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _calls(case: Case, artifact: Path, model: Path, threads: int) -> tuple[dict[str, Call], dict[str, str]]:
    """Return a call of each who can run the case, each run once already, and why the others cannot."""
    makers: dict[str, Callable[[], Call | None]] = {
        "landbridge": lambda: _landbridge(case, artifact),
        "onnxruntime": lambda: _onnxruntime(case, model, threads),
        "openvino": lambda: _openvino(case, model, threads),
        "numpy": lambda: case.numpy and (lambda: case.numpy(case.feeds)),  # type: ignore[misc]  # it is there
        "hand": lambda: _hand(case) if case.hand and threads == 1 else None,
    }
    calls: dict[str, Call] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            call = make()
            if call is not None:
                call()
                calls[name] = call
        except Exception as error:  # peers raise anything; that one cannot run it is a result
            if name == "landbridge":
                raise
            missing[name] = str(error).strip().partition("\n")[0]
    return calls, missing


def _landbridge(case: Case, artifact: Path) -> Call:
    session = lb.load(artifact)
    return lambda: list(session.run(case.feeds).values())


def _onnxruntime(case: Case, model: Path, threads: int) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, case.feeds)


def _openvino(case: Case, model: Path, threads: int) -> Call:
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(str(model), "CPU", config).create_infer_request()
    return lambda: request.infer(case.feeds, share_inputs=True)


def _hand(case: Case) -> Call:
    """Return a call of the function in C, on memory that is there."""
    assert case.numpy is not None
    function = getattr(processing_graphs.by_hand(), case.hand)
    arrays = [*map(np.ascontiguousarray, case.feeds.values()), *map(np.zeros_like, case.numpy(case.feeds))]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    return lambda: (function(*pointers), arrays)  # which keeps the memory


def _difference(calls: Mapping[str, Call]) -> float | None:
    """Return the largest difference of Landbridge's results to ONNX Runtime's, in parts of the largest value; None without it."""
    if "onnxruntime" not in calls:
        return None
    largest = 0.0
    for found, expected in zip(calls["landbridge"](), calls["onnxruntime"](), strict=True):
        if found.shape != expected.shape:
            return float("inf")
        if found.size:
            wanted = expected.astype("float64")
            scale = float(np.abs(wanted).max()) or 1.0
            largest = max(largest, float(np.abs(found.astype("float64") - wanted).max()) / scale)
    return largest
