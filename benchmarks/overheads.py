"""Measure what a run costs beside its work: Landbridge, ONNX Runtime, LiteRT, OpenVINO and TVM's VM on one operator, taking turns.

``python benchmarks/overheads.py`` in the repository's root. Figures of one run on one machine: compare the ratios, not the times.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import landbridge as lb  # noqa: E402 - after the path is set
from landbridge.runtime import load  # noqa: E402
from landbridge.runtime.artifact import ExternRecord, to_bytes  # noqa: E402
from landbridge.runtime.driver import Driver, LoadedModel, PreparedCall, Vendor  # noqa: E402
from landbridge.runtime.errors import UnsupportedError  # noqa: E402
from landbridge.runtime.heap import Block  # noqa: E402
from landbridge.runtime.memory import allocate_host  # noqa: E402
from landbridge.runtime.memory import empty as aligned_empty  # noqa: E402
from landbridge.runtime.plan import Extern, Segment  # noqa: E402
from landbridge.runtime.session import Session  # noqa: E402
from landbridge.runtime.signature import Signature  # noqa: E402
from landbridge.runtime.vendors import registry  # noqa: E402
from support.plans import artifact, plan, tensor  # noqa: E402
from support.tflite_models import tflite  # noqa: E402
from support.toy_vendor import signature  # noqa: E402

SHAPE = (4, 3)
MORE = 16
"""How many further steps the cost of one is worked out from."""

BIG_NBYTES = 100_000_000

Call = Callable[[], Any]


class _NullCall(PreparedCall):
    def __call__(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Give nothing back."""


class _NullModel(LoadedModel):
    concurrent = True

    def prepare(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> PreparedCall:
        return _NullCall()

    def close(self) -> None:
        """Give nothing back."""


class _NullDriver(Driver):
    """A device that does nothing, in the host's memory: what is left is the cost of calling it."""

    simulated = False

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}

    def allocate(self, nbytes: int) -> int:
        block = allocate_host(nbytes)
        self._blocks[block.address] = block
        return block.address

    def free(self, address: int) -> None:
        del self._blocks[address]

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy nothing."""

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy nothing."""

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> LoadedModel:
        return _NullModel()

    def close(self) -> None:
        """Give nothing back."""


class _NullVendor(Vendor):
    name = "null"
    device_kind = "nulldevice"
    host_memory = True
    suffixes = ()

    def recognises(self, data: bytes) -> bool:
        return False

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        raise UnsupportedError("files of this device tell nothing")

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        return _NullDriver()


def best(calls: Mapping[str, Call], times: int = 100, rounds: int = 300) -> dict[str, float]:
    """Return the microseconds that each call takes at best, over rounds in which all take turns: other work only ever adds to them."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter_ns()
            for _ in range(times):
                call()
            found[name] = min(found[name], (time.perf_counter_ns() - started) / times / 1e3)
    return found


def relu_model() -> onnx.ModelProto:
    """Return a model of one operator on float32 [4, 3]."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def one_operator(stack: ExitStack, x: Any) -> dict[str, Call]:
    """Return what runs the one operator, by name: from NumPy and to NumPy first, then on memory that is kept."""
    model = relu_model()
    session: Session = stack.enter_context(load(lb.compile(lb.from_onnx(model)).to_bytes()))
    y = aligned_empty("float32", SHAPE)[0]
    bound = session.bind({"x": x}, {"y": y})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    ort = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = ort.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_shape_and_type(SHAPE, np.float32, "cpu", 0))
    request = openvino.Core().compile_model(openvino.convert_model(_on_disk(stack, model)), "CPU", {"INFERENCE_NUM_THREADS": 1})
    kept = request.create_infer_request()
    kept.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    inputs = {"x": x}
    return {
        "Landbridge, run": lambda: session.run(inputs),
        "Landbridge, bound": bound,
        "ONNX Runtime, run": lambda: ort.run(None, inputs),
        "ONNX Runtime, bound": lambda: ort.run_with_iobinding(binding),
        "OpenVINO, run": lambda: request(inputs),
        "OpenVINO, bound": kept.infer,
        **_litert(x),
        **_tvm_vm(x),
    }


def _on_disk(stack: ExitStack, model: onnx.ModelProto) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    onnx.save(model, f"{folder}/relu.onnx")
    return f"{folder}/relu.onnx"


def _litert(x: Any) -> dict[str, Call]:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - it prints when it is imported

    interpreter = Interpreter(model_content=tflite("RELU", {"x": SHAPE}, ("y", SHAPE)), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run() -> Any:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return {"LiteRT, set, invoke, get": run, "LiteRT, invoke": interpreter.invoke}


def _tvm_vm(x: Any) -> dict[str, Call]:
    builder = relax.BlockBuilder()
    value = relax.Var("x", relax.TensorType(SHAPE, "float32"))
    with builder.function("main", [value]):
        builder.emit_func_output(builder.emit(relax.op.nn.relu(value)))
    machine = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())
    main, own = machine["main"], tvm.runtime.tensor(x)
    return {"TVM VM, from NumPy": lambda: main(tvm.runtime.tensor(x)).numpy(), "TVM VM, own tensors": lambda: main(own)}


def further_steps(x: Any) -> dict[str, float]:
    """Return the microseconds of one more host segment, and of one more call of an offline model on a device that does nothing."""
    registry.register(_NullVendor())
    try:
        with ExitStack() as stack:
            calls = {}
            for kind, make in (("segment", _segments), ("call", _null_calls)):
                for count in (1, 1 + MORE):
                    session = stack.enter_context(make(count))
                    calls[f"{kind} {count}"] = session.bind({"x": x}, {"y": aligned_empty("float32", SHAPE)[0]})
            found = best(calls)
    finally:
        registry.unregister("null")
    return {kind: (found[f"{kind} {1 + MORE}"] - found[f"{kind} 1"]) / MORE for kind in ("segment", "call")}


def _segments(count: int) -> Session:
    """Return a session on so many host segments, one after the other."""
    offsets: list[Any] = [["*", 64 * index, "n"] for index in range(count)]
    buffers = [tensor("x", "input"), *(tensor(f"h{index}", "arena", offset=offset) for index, offset in enumerate(offsets))]
    steps = [
        Segment("lb_double", (index, index + 1), ("n",), (index + 1,), ("Mul",), (index - 1,) if index else ()) for index in range(count)
    ]
    return load(to_bytes(artifact(plan(buffers, steps, {"x": 0}, {"y": count}))))


def _null_calls(count: int) -> Session:
    """Return a session on so many calls of an offline model that does nothing."""
    record = ExternRecord("null", "null", "nulldevice0", "vendor/null", signature(("n", 3)), {}, "null")
    offsets: list[Any] = [["*", 64 * index, "n"] for index in range(count)]
    device = "nulldevice0"
    buffers = [tensor("x", "input"), tensor("t", "alias", device, base=0)]
    buffers += [tensor(f"h{index}", "arena", device, offset=offset) for index, offset in enumerate(offsets)]
    buffers += [tensor("y", "alias", base=len(buffers) - 1)]
    steps = [Extern("null", device, (index + 1,), (index + 2,), (index - 1,) if index else ()) for index in range(count)]
    return load(to_bytes(artifact(plan(buffers, steps, {"x": 0}, {"y": len(buffers) - 1}), [record])))


def loading() -> dict[str, float]:
    """Return the seconds from nothing to the first result of an artifact with 100 MB of constants, and of hashing it on all processors.

    "peak" is the memory that a process takes for it, without 40 MB, to the size of the artifact.
    """
    side = int((BIG_NBYTES / 4) ** 0.5)
    weights = np.random.default_rng(0).standard_normal((side, side), np.float32)
    rows, result = helper.make_tensor_value_info("rows", TensorProto.INT64, [3]), helper.make_tensor_value_info("y", 1, [3, side])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "rows"], ["y"])], "table", [rows], [result], [numpy_helper.from_array(weights, "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.lbr"
        lb.compile(lb.from_onnx(model)).save(path)
        path_nbytes = path.stat().st_size
        loads, hashes = [], []
        for _ in range(12):
            hashes.append(_hashing(path))
            started = time.perf_counter()
            with load(path) as session:
                session.run({"rows": np.array([1, 2, 3])})
                loads.append(time.perf_counter() - started)
        peak = _peak_nbytes(path)
    return {"load": statistics.median(loads), "hash": statistics.median(hashes), "peak": (peak - 40e6) / path_nbytes}


def _peak_nbytes(path: Path) -> int:
    """Return the most memory that a process has in use which loads an artifact and runs it."""
    code = (
        "import sys, numpy as np; from landbridge.runtime import load\n"
        "with load(sys.argv[1]) as session: session.run({'rows': np.array([1, 2, 3])})\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    command = [sys.executable, "-c", code, str(path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    return int(found.stdout) * 1024


def _hashing(path: Path) -> float:
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    processors = len(os.sched_getaffinity(0))
    starts = iter(range(0, len(data), 4 * 2**20))

    def work() -> None:
        for start in starts:
            hashlib.sha256(data[start : start + 4 * 2**20]).digest()

    threads = [threading.Thread(target=work) for _ in range(processors)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def importing() -> dict[str, float]:
    """Return the seconds of processor time that processes take at best which import this or that, and which load and run an artifact."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relu.lbr"
        lb.compile(lb.from_onnx(relu_model())).save(path)
        codes = {
            "nothing": "pass",
            "numpy": "import numpy",
            "runtime": "import numpy, landbridge.runtime",
            "load": "import numpy; from landbridge.runtime import load",
            "run": f"import numpy; from landbridge.runtime import load\nload({str(path)!r}).run({{'x': numpy.ones({SHAPE}, 'float32')}})",
        }
        found = dict.fromkeys(codes, float("inf"))
        for _ in range(15):
            for name, code in codes.items():
                found[name] = min(found[name], _processor_s(code))
    return found


def _processor_s(code: str) -> float:
    """Return the processor time of a process; what it imports is compiled already."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "PYTHONPATH": str(ROOT / "src")})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print everything."""
    logging.disable()
    x = aligned_empty("float32", SHAPE)[0]
    x[:] = np.arange(12).reshape(SHAPE) - 5
    with ExitStack() as stack:
        found = best(one_operator(stack, x))
    for name, microseconds in found.items():
        print(f"{name:<28} {microseconds:8.2f} us")
    print(f"{'run, to ONNX Runtime':<28} {found['Landbridge, run'] / found['ONNX Runtime, run']:8.2f}")
    for kind, microseconds in further_steps(x).items():
        print(f"{'one more ' + kind:<28} {microseconds:8.2f} us")
    times = loading()
    print(
        f"{'100 MB: to the first result':<28} {times['load'] * 1e3:8.1f} ms, {times['load'] / times['hash']:.2f} of hashing it on all cores"
    )
    print(f"{'100 MB: peak memory':<28} {times['peak']:8.2f} of the weights, and 40 MB")
    imports = importing()
    alone = imports["numpy"] - imports["nothing"]
    for name, what in (("runtime", "import landbridge.runtime"), ("load", "import of load"), ("run", "import, load, first run")):
        print(f"{what:<28} {(imports[name] - imports['nothing']) / alone:8.2f} of import numpy ({alone * 1e3:.0f} ms)")


if __name__ == "__main__":
    main()
