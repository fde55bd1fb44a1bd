"""Measure the libcuda driver and the TensorRT driver on a machine with an NVIDIA GPU, and check what they do while measuring.

``python benchmarks/gpu/measure.py`` in the repository's root; ``--plan net.engine`` runs a plan too (the lean runtime takes
version-compatible ones only), ``--json out.json`` keeps the figures. It needs NVIDIA's driver, and for a plan ``tensorrt`` or
``tensorrt_lean``; nothing else of CUDA.

**No GPU was at hand when this was written.** It was run on the double of libcuda only, by ``tests/benchmarks/test_gpu_measure.py``: that
it runs, copies the right bytes and says what is missing is tested, that its figures mean anything on a GPU is not.

What is measured: how long memory takes to be allocated and freed; copies from and to the host, pageable and pinned, and on the GPU, in
GB/s (10^9 bytes, the best and the median of the repetitions, each waited for), beside what the hardware can do at most: the link to the
host as the system tells it, and the memory of the GPU by its clock and width; how much two copies in opposite directions gain by going on
at once; and the latency of a plan. Every copied byte is compared.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src")]

from landbridge.runtime.driver import TensorRef  # noqa: E402 - after the path is set
from landbridge.runtime.dtypes import holder  # noqa: E402
from landbridge.runtime.errors import LandbridgeError, UsageError  # noqa: E402
from landbridge.runtime.heap import Block  # noqa: E402
from landbridge.runtime.memory import allocate_host, view  # noqa: E402
from landbridge.runtime.vendors.tensorrt.cuda import Cuda  # noqa: E402
from landbridge.runtime.vendors.tensorrt.driver import TensorrtDriver  # noqa: E402

_CLOCK_KHZ, _WIDTH_BITS = 36, 37
"""Attributes of a device: the clock of its memory, and the width of the bus to it."""
_PER_CLOCK = 2
"""Transfers a clock of memory with double data rate."""
_USABLE = {"2.5": 0.8, "5.0": 0.8}
"""By gigatransfers a second, the share of a PCIe link's bits that are data; 128 of 130 from the third generation on."""


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: such as "copy in, pinned".
        nbytes: how much; 0 where that is no question.
        best_us: the shortest time, in microseconds.
        median_us: the median of them.
        limit: GB/s that the hardware can do at most, 0 where nobody tells.
        problem: why it was not measured, "" where it was.
    """

    what: str
    nbytes: int
    best_us: float = 0.0
    median_us: float = 0.0
    limit: float = 0.0
    problem: str = ""

    @property
    def rate(self) -> float:
        """GB/s, the best."""
        return self.nbytes / self.best_us / 1e3 if self.best_us else 0.0


@dataclass
class Measured:
    """Everything that was found.

    Attributes:
        gpu: its name, capability, driver, memory, and what its hardware can do.
        rows: in order.
        notes: what was left out, each with the reason.
    """

    gpu: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"gpu": self.gpu, "rows": [{**asdict(row), "GB/s": row.rate} for row in self.rows], "notes": self.notes}

    def render(self) -> str:
        """Return it as a table."""
        lines = [", ".join(f"{key} {value}" for key, value in self.gpu.items()), ""]
        lines.append(f"{'':<34}{'bytes':>12}{'best us':>12}{'median us':>12}{'GB/s':>9}{'of the most':>14}")
        for row in self.rows:
            if row.problem:
                lines.append(f"{row.what:<34}{row.nbytes:>12}  {row.problem}")
                continue
            share = f"{row.rate / row.limit:.0%} of {row.limit:.0f}" if row.limit and row.nbytes else ""
            rate = f"{row.rate:.2f}" if row.nbytes else ""
            lines.append(f"{row.what:<34}{row.nbytes or '':>12}{row.best_us:>12.1f}{row.median_us:>12.1f}{rate:>9}{share:>14}")
        return "\n".join([*lines, *([""] if self.notes else []), *(f"note: {note}" for note in self.notes)])


def timed(call: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Return the least and the median time of a call, in microseconds; it is called once before."""
    call()
    found = []
    for _ in range(repeat):
        started = time.perf_counter_ns()
        call()
        found.append((time.perf_counter_ns() - started) / 1e3)
    return min(found), statistics.median(found)


def hardware(cuda: Cuda) -> tuple[float, float, str]:
    """Return GB/s of the link to the host and of the GPU's memory, 0 where nobody tells, and what the link is."""
    library, device = cuda._library, cuda._device
    value, facts = ctypes.c_int(), dict[int, int]()
    for attribute in (_CLOCK_KHZ, _WIDTH_BITS):
        code = library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        facts[attribute] = value.value if code == 0 and value.value > 0 else 0
    memory = facts[_CLOCK_KHZ] * 1e3 * _PER_CLOCK * facts[_WIDTH_BITS] / 8 / 1e9
    name = ctypes.create_string_buffer(32)
    if not hasattr(library, "cuDeviceGetPCIBusId") or library.cuDeviceGetPCIBusId(name, 32, device) != 0:
        return 0.0, memory, "not told"
    folder = Path("/sys/bus/pci/devices") / name.value.decode("ascii", "replace").lower()
    try:
        speed, width = ((folder / part).read_text().strip() for part in ("max_link_speed", "max_link_width"))
        transfers = speed.split()[0]
        return float(transfers) * int(width) * _USABLE.get(transfers, 128 / 130) / 8, memory, f"{speed} x{width}"
    except (OSError, ValueError, IndexError):
        return 0.0, memory, "not told"


def measure_allocation(cuda: Cuda, nbytes: int, repeat: int) -> Row:
    """Return how long memory takes to be allocated and freed."""
    best, median = timed(lambda: cuda.free(cuda.allocate(nbytes)), repeat)
    return Row("allocate and free", 0, best, median) if nbytes == 1 else Row(f"allocate and free {nbytes}", 0, best, median)


class Copies:
    """Buffers on both sides of the link, pageable and pinned."""

    def __init__(self, cuda: Cuda, nbytes: int) -> None:
        self.cuda, self.nbytes = cuda, nbytes
        self.device, self.second = cuda.allocate(nbytes), 0
        self.pinned = 0
        self.blocks: list[Block] = []
        try:
            self.second = cuda.allocate(nbytes)
            self.pinned = cuda.allocate_host(nbytes)
            self.blocks = [allocate_host(nbytes), allocate_host(nbytes)]
        except LandbridgeError:
            self.close()
            raise
        self.pattern = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)

    def rows(self, repeat: int, link: float, memory: float) -> Iterator[Row]:
        """Measure, and see that the bytes are right."""
        cuda, n = self.cuda, self.nbytes
        hosts = {"pageable": (self.blocks[0].address, self.blocks[1].address), "pinned": (self.pinned, self.pinned)}
        for kind, (source, destination) in hosts.items():
            self._fill(source)
            yield Row(f"copy in, {kind}", n, *timed(partial(cuda.copy_in, self.device, source, n), repeat), link)
            self._fill(destination, 0)
            yield Row(f"copy out, {kind}", n, *timed(partial(cuda.copy_out, destination, self.device, n), repeat), link)
            self._check(destination, f"copied in and out, {kind}")

        def on_device() -> None:
            cuda.bind()
            cuda.enqueue_copy(self.second, self.device, n)
            cuda.synchronize()

        best, median = timed(on_device, repeat)
        yield Row("copy on the GPU (reads and writes)", 2 * n, best, median, memory)
        self._fill(self.pinned, 0)
        cuda.copy_out(self.pinned, self.second, n)
        self._check(self.pinned, "copied on the GPU")
        yield self._both(repeat)

    def _both(self, repeat: int) -> Row:
        """Copy in and out at once, by two threads, each on its own stream."""
        host = [self.pinned, self.blocks[0].address]

        def at_once() -> None:
            threads = [
                threading.Thread(target=self.cuda.copy_in, args=(self.device, host[0], self.nbytes)),
                threading.Thread(target=self.cuda.copy_out, args=(host[1], self.second, self.nbytes)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return Row("in (pinned) and out at once", 2 * self.nbytes, *timed(at_once, repeat))

    def _fill(self, address: int, value: int | None = None) -> None:
        view(address, "uint8", (self.nbytes,))[:] = self.pattern if value is None else value

    def _check(self, address: int, what: str) -> None:
        wrong = int((view(address, "uint8", (self.nbytes,)) != self.pattern).sum())
        if wrong:
            raise UsageError(f"{wrong} of {self.nbytes} bytes are wrong: {what}", at="gpu", hint="see nvidia-smi -q and dmesg")

    def close(self) -> None:
        """Give everything back."""
        for address in filter(None, (self.device, self.second)):
            self.cuda.free(address)
        if self.pinned:
            self.cuda.free_host(self.pinned)


def measure_plan(path: Path, ordinal: int, repeat: int) -> Row:
    """Return the latency of a plan at the least extents of its first profile, with its inputs on the GPU.

    Raises:
        LandbridgeError: TensorRT is missing, or refuses the plan.
    """
    driver = TensorrtDriver(ordinal)
    try:
        data = path.read_bytes()
        signature = driver.capture(data, {})
        model = driver.load(data, signature, {})
        extents = _least(model.interface)
        shapes = [
            tuple(extents.get(dim, 1) if isinstance(dim, str) else dim for dim in p.shape) for p in (*signature.inputs, *signature.outputs)
        ]
        refs = []
        for port, shape in zip((*signature.inputs, *signature.outputs), shapes, strict=True):
            array = np.zeros(shape, holder(port.dtype))
            refs.append(TensorRef(driver.allocate(max(array.nbytes, 1)), array.nbytes, port.dtype, shape))
            driver.copy_in(refs[-1].address, array.ctypes.data, array.nbytes)
        call = model.prepare(refs[: len(signature.inputs)], refs[len(signature.inputs) :])
        try:
            return Row(f"{path.name} by {driver.package} {driver.versions['tensorrt']}", 0, *timed(call, repeat))
        finally:
            call.close()
            for ref in refs:
                driver.free(ref.address)
    finally:
        driver.close()


def _least(interface: Any) -> dict[str, int]:
    """Return the least extent of each dimension that `captured_signature` names."""
    from landbridge.runtime.vendors.tensorrt.plan import named_dims  # noqa: PLC0415 - only plans need it

    profile = interface.profiles[0] if interface.profiles else {}
    pairs = [
        (dim, low)
        for tensor in interface.inputs
        if tensor.name in profile
        for dim, low in zip(named_dims(tensor.name, tensor.shape), profile[tensor.name][0], strict=True)
    ]
    return {dim: max(low for name, low in pairs if name == dim) for dim, _ in pairs if isinstance(dim, str)}


def measure(ordinal: int, sizes: Sequence[int], repeat: int, plan: Path | None) -> Measured:
    """Return everything that can be measured here.

    Raises:
        LandbridgeError: there is no driver or no such GPU, or it gives wrong bytes.
    """
    cuda = Cuda(ordinal, f"gpu{ordinal}")
    try:
        free, total = cuda.memory()
        link, memory, told = hardware(cuda)
        facts = {"GPU": cuda.name, "capability": cuda.capability, "CUDA": cuda.driver_version, "free": free, "of": total, "link": told}
        found = Measured(facts)
        found.rows += [measure_allocation(cuda, nbytes, repeat) for nbytes in (1, max(sizes))]
        for nbytes in sizes:
            try:
                copies = Copies(cuda, nbytes)
            except LandbridgeError as error:
                found.rows.append(Row("copies", nbytes, problem=f"not measured: {error.message}"))
                continue
            try:
                found.rows += copies.rows(repeat, link, memory)
            finally:
                copies.close()
    finally:
        cuda.close()
    if plan is None:
        found.notes.append("TensorRT was not run: give a plan by --plan")
        return found
    try:
        found.rows.append(measure_plan(plan, ordinal, repeat))
    except (LandbridgeError, OSError) as error:
        found.rows.append(Row(plan.name, 0, problem=f"not measured: {error}"))
    return found


def _size(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return 0, or 1 where something could not be measured."""
    parser = argparse.ArgumentParser(description="Measure the libcuda and TensorRT drivers on an NVIDIA GPU.")
    parser.add_argument("--gpu", type=int, default=0, metavar="N")
    parser.add_argument("--sizes", default="4K,1M,64M,1G", metavar="N,…", help="bytes of a copy, with K, M or G (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=20, metavar="N")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="a TensorRT plan to run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    options = parser.parse_args(arguments)
    try:
        sizes = [_size(text) for text in options.sizes.split(",")]
        found = measure(options.gpu, sizes, options.repeat, options.plan)
    except ValueError:
        parser.error(f"--sizes '{options.sizes}' is no list of sizes such as 4K,1M")
    except LandbridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(found.render())
    if options.json:
        options.json.write_text(json.dumps(found.to_json(), indent=2) + "\n", encoding="utf-8")
    return 1 if any(row.problem for row in found.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
