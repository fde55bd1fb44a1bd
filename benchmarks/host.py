"""Compare host code with ONNX Runtime and OpenVINO: whole models on the CPU, in one process, taking turns.

``make bench`` runs this. Figures of one run on one machine: compare the ratios, not the times. ``--write FILE`` also writes the table
as Markdown; ``--only TEXT`` keeps the models with ``TEXT`` in their names; each number of threads has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

import landbridge as lb

ROUNDS = 15
THREADS = (1, 2)
PEERS = ("landbridge", "onnxruntime", "openvino")
_LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"
_random = np.random.default_rng(0)


def _floats(*shape: int) -> Any:
    return _random.standard_normal(shape).astype("float32") / np.float32(math.sqrt(shape[-1]))


class _Graph:
    """A small model while it is written."""

    def __init__(self, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.input = helper.make_tensor_value_info("x", dtype, list(shape))

    def add(self, operator: str, inputs: Sequence[Any], **attributes: Any) -> str:
        """Return the name of the output of a new node; arrays among the inputs become weights."""
        names = []
        for value in inputs:
            if not isinstance(value, str):
                self.weights.append(numpy_helper.from_array(value, f"w{len(self.weights)}"))
            names.append(value if isinstance(value, str) else self.weights[-1].name)
        self.nodes.append(helper.make_node(operator, names, [f"v{len(self.nodes)}"], **attributes))
        return f"v{len(self.nodes) - 1}"

    def model(self, output: str, dtype: int = TensorProto.FLOAT) -> Any:
        """Return the model that gives ``output``."""
        graph = helper.make_graph(self.nodes, "bench", [self.input], [helper.make_tensor_value_info(output, dtype, None)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        return onnx.shape_inference.infer_shapes(model)


def _residual_net() -> Any:
    graph = _Graph((1, 3, 128, 128))
    y = graph.add("Conv", ["x", _floats(32, 3, 3, 3), _floats(32)], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 32
    for more in (32, 64, 128):
        stride = 1 if more == channels else 2
        skip = graph.add("Conv", [y, _floats(more, channels, 1, 1), _floats(more)], strides=[stride, stride])
        y = graph.add("Relu", [graph.add("Conv", [y, _floats(more, channels, 3, 3), _floats(more)], strides=[stride] * 2, pads=[1] * 4)])
        y = graph.add("Add", [graph.add("Conv", [y, _floats(more, more, 3, 3), _floats(more)], pads=[1] * 4), skip])
        y, channels = graph.add("Relu", [y]), more
    pooled = graph.add("Flatten", [graph.add("GlobalAveragePool", [y])])
    return graph.model(graph.add("Gemm", [pooled, _floats(128, 100), _floats(100)]))


def _preprocessing() -> Any:
    graph = _Graph((1, 640, 640, 3), TensorProto.UINT8)
    y = graph.add("Cast", ["x"], to=TensorProto.FLOAT)
    y = graph.add("Sub", [y, np.array([123.7, 116.3, 103.5], "float32")])
    y = graph.add("Mul", [y, np.array([0.0171, 0.0175, 0.0174], "float32")])
    return graph.model(graph.add("Cast", [graph.add("Transpose", [y], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT16), TensorProto.FLOAT16)


def _mlp(rows: int) -> Any:
    graph = _Graph((rows, 512))
    y = graph.add("Relu", [graph.add("Gemm", ["x", _floats(1024, 512), _floats(1024)], transB=1)])
    y = graph.add("Tanh", [graph.add("Gemm", [y, _floats(1024, 1024), _floats(1024)], transB=1)])
    return graph.model(graph.add("Gemm", [y, _floats(10, 1024), _floats(10)], transB=1))


def _one(operator: str, shape: Sequence[int], *weights: Any, **attributes: Any) -> Any:
    graph = _Graph(shape)
    return graph.model(graph.add(operator, ["x", *weights], **attributes))


def models() -> dict[str, Callable[[], Any]]:
    """Return how to make each model, by name."""
    light = {path.stem: lambda path=path: onnx.load(path) for path in sorted(_LIGHT.glob("light_*.onnx"))}
    return {
        "mlp, 1 row": lambda: _mlp(1),
        "mlp, 64 rows": lambda: _mlp(64),
        "residual net, 128 x 128": _residual_net,
        "uint8 NHWC -> normalise -> NCHW float16": _preprocessing,
        "softmax, 197 x 768": lambda: _one("Softmax", (197, 768)),
        "layer norm, 197 x 768": lambda: _one("LayerNormalization", (197, 768), _floats(768), _floats(768)),
        "sigmoid, 8400 x 80": lambda: _one("Sigmoid", (8400, 80)),
        **light,
    }


def _feeds(model: Any) -> dict[str, Any]:
    weights = {weight.name for weight in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in weights:
            tensor = value.type.tensor_type
            shape = [extent.dim_value or 1 for extent in tensor.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[value.name] = (_random.random(shape) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    return feeds


def measure(folder: Path, threads: int) -> dict[str, float]:
    """Return the median milliseconds of each peer on the model in ``folder``, and the largest difference of the results."""
    model = onnx.load(folder / "model.onnx")
    feeds = _feeds(model)
    session = lb.load(str(folder / "model.lbr"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    vino = openvino.Core().compile_model(str(folder / "model.onnx"), "CPU", config).create_infer_request()
    calls: dict[str, Callable[[], Any]] = {
        "landbridge": lambda: session.run(feeds),
        "onnxruntime": lambda: runtime.run(None, feeds),
        "openvino": lambda: vino.infer(feeds, share_inputs=True),
    }
    found = next(iter(calls["landbridge"]().values())).astype("float64")
    expected = calls["onnxruntime"]()[0].astype("float64")
    calls["openvino"]()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            taken[name].append((time.perf_counter() - started) * 1e3)
    scale = float(np.abs(expected).max()) or 1.0
    return {**{name: statistics.median(times) for name, times in taken.items()}, "error": float(np.abs(found - expected).max()) / scale}


def _in_process(folder: Path, threads: int) -> dict[str, float]:
    environment = {**os.environ, "LANDBRIDGE_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--measure", str(folder), "--threads", str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def bench(only: str) -> list[str]:
    """Return the lines of the table; they are printed as they come."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say("| model | threads | Landbridge ms | ONNX Runtime ms | OpenVINO ms | to the faster peer | difference | compile s |")
    say("|---|---:|---:|---:|---:|---:|---:|---:|")
    ratios: dict[int, list[float]] = {threads: [] for threads in THREADS}
    for name, make in models().items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            onnx.save(make(), folder / "model.onnx")
            started = time.perf_counter()
            lb.compile(lb.from_onnx(str(folder / "model.onnx"))).save(str(folder / "model.lbr"))
            compiling = time.perf_counter() - started
            for threads in THREADS:
                result = _in_process(folder, threads)
                times = [result[peer] for peer in PEERS]
                ratio = times[0] / min(times[1:])
                if name.startswith("light_"):
                    ratios[threads].append(ratio)
                columns = " | ".join(f"{value:.3f}" for value in times)
                say(f"| {name} | {threads} | {columns} | {ratio:.2f} | {result['error']:.0e} | {compiling:.1f} |")
    for threads, found in ratios.items():
        if found:
            say(f"| **light models, geometric mean** | {threads} | | | | **{math.exp(statistics.fmean(map(math.log, found))):.2f}** | | |")
    return lines


def _machine() -> str:
    with open("/proc/cpuinfo") as file:
        name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
    versions = f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.partition('-')[0]}"
    return f"{name}, {os.cpu_count()} cores, {versions}; {ROUNDS} interleaved repetitions, medians, inputs and outputs as NumPy arrays"


def main() -> None:
    """Measure and print; or, in a process of its own, measure one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.threads)))
        return
    print(_machine())
    lines = bench(arguments.only)
    if arguments.write:
        arguments.write.write_text("\n".join([_machine(), "", *lines, ""]))


if __name__ == "__main__":
    main()
