"""What was measured, as data: rows, how they compare, and the machine they were measured on."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import tvm

from host.memory import MOST, Memory

NAMES = {"landbridge": "Landbridge", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "numpy": "NumPy", "hand": "C by hand"}
"""Who runs, and what tables call it."""


@dataclass(frozen=True)
class Row:
    """One case on some threads.

    Attributes:
        name: of the case.
        group: what it is listed under.
        threads: how many were asked for.
        times: by who ran it the milliseconds: their ``median``, ``low`` and ``high`` quarter.
        stolen: the part of the processors' time that others on the host took meanwhile.
        missing: by who did not, why.
        difference: of Landbridge's results to ONNX Runtime's, in parts of the largest value.
        compile_s: seconds that Landbridge's compiler took.
        flops: floating-point operations of a run.
        nbytes: bytes that it reads and writes at least.
        least_ms: below which nothing gets on this machine.
        bound: what holds it there, "arithmetic" or "memory".
        memory: the host memory that was planned, and what lives in it.
    """

    name: str
    group: str
    threads: int
    times: Mapping[str, Mapping[str, float]]
    stolen: float
    missing: Mapping[str, str]
    difference: float | None
    compile_s: float
    flops: float
    nbytes: int
    least_ms: float
    bound: str
    memory: Memory

    def ms(self, who: str) -> float | None:
        """Return the median of who ran it, or None."""
        return self.times[who]["median"] if who in self.times else None

    @property
    def peer_ms(self) -> float | None:
        """The time of the faster of ONNX Runtime and OpenVINO."""
        found = [self.times[who]["median"] for who in ("onnxruntime", "openvino") if who in self.times]
        return min(found, default=None)

    @property
    def ratio(self) -> float | None:
        """Landbridge's time to that of the faster peer."""
        ours, peer = self.ms("landbridge"), self.peer_ms
        return ours / peer if ours and peer else None

    @property
    def reached(self) -> float | None:
        """What part of the machine's speed Landbridge reaches."""
        ours = self.ms("landbridge")
        return self.least_ms / ours if ours else None


@dataclass(frozen=True)
class Results:
    """All rows, and what they were measured on.

    Attributes:
        rows: in the order of the table.
        machine: what is known of the machine, by what it is called.
        speeds: by threads, what `host.roofline` measured.
        refused: by case, why Landbridge did not run it.
    """

    rows: tuple[Row, ...]
    machine: Mapping[str, str]
    speeds: Mapping[int, Mapping[str, Any]]
    refused: Mapping[str, str]

    @property
    def groups(self) -> list[str]:
        """The groups, in order."""
        return list(dict.fromkeys(row.group for row in self.rows))

    @property
    def threads(self) -> list[int]:
        """The numbers of threads, in order."""
        return sorted({row.threads for row in self.rows})

    def of(self, group: str, threads: int | None = None) -> list[Row]:
        """Return the rows of a group."""
        return [row for row in self.rows if row.group == group and threads in (None, row.threads)]

    @property
    def wasteful(self) -> list[str]:
        """The cases for which more memory was planned than `host.memory.MOST` times what lives."""
        return list(dict.fromkeys(row.name for row in self.rows if row.memory.times > MOST))

    def to_json(self) -> str:
        """Return all as text."""
        return json.dumps({**asdict(self), "rows": [asdict(row) for row in self.rows]}, indent=1) + "\n"


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Return the geometric mean of those that are there, or None."""
    logs = [math.log(value) for value in values if value]
    return math.exp(statistics.fmean(logs)) if logs else None


def describe_machine() -> dict[str, str]:
    """Return what the machine is and what runs on it."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "caches": ", ".join(_caches()),
        "system": f"{platform.system()} {platform.release()}",
        "ONNX Runtime": onnxruntime.__version__,
        "OpenVINO": openvino.__version__.partition("-")[0],
        "NumPy": np.__version__,
        "TVM": tvm.__version__,
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        lines = [line.partition(":") for line in file]
    name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), platform.machine())
    flags = next((value.split() for key, _, value in lines if key.strip() in ("flags", "Features")), [])
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve") if flag in flags]
    return f"{name} ({', '.join(known)})" if known else name


def _caches() -> Iterable[str]:
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            yield f"L{level} {size}"
