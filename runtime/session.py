"""An artifact, loaded and ready to run.

A session may be used from any number of threads; runs take turns. Results are arrays of their own, valid after the next run and after
`Session.close`. After an error in a run the next run starts afresh.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from landbridge.runtime import dtypes
from landbridge.runtime.artifact import Artifact, from_bytes, read
from landbridge.runtime.binding import Binding
from landbridge.runtime.bound import BoundRun
from landbridge.runtime.boundaries import Boundary, Tapped
from landbridge.runtime.container import Blob
from landbridge.runtime.device import Device
from landbridge.runtime.dims import evaluate
from landbridge.runtime.dims import names as dims_of
from landbridge.runtime.errors import DeviceError, InputError, SessionClosed, UsageError
from landbridge.runtime.execute import PHASES, Runner, Stepper, Timed, call_steps, copy_to_device
from landbridge.runtime.gate import Gate, TensorInfo, as_array
from landbridge.runtime.memory import DeviceTensor
from landbridge.runtime.open_artifact import OpenArtifact
from landbridge.runtime.report import Report
from landbridge.runtime.trace import Span, Trace
from landbridge.runtime.trust import conditions

_LOG = logging.getLogger(__name__)

SIMULATE = "LANDBRIDGE_SIMULATE"
"""Environment variable: names of vendors to simulate, separated by commas, besides those that `load` is told."""

_BINDINGS = 8
"""For how many sets of extents a session keeps memory and prepared calls."""


def load(source: str | Path | Blob, *, simulate: Iterable[str] = (), trust: Any = None) -> Session:
    """Return a session on an artifact.

    Args:
        source: the path of an artifact, or its bytes.
        simulate: names of vendors whose devices a simulator stands in for.
        trust: "sha256:" and the digest of the artifact to accept, the public key of a signer to accept (the path of a ``.pub`` file, or
            a key object of the package ``cryptography``), or a list of such. Where the environment variable ``LANDBRIDGE_TRUST`` names
            a folder of ``.pub`` files, one of these keys must have signed the artifact, whatever else is trusted.

    Raises:
        ArtifactError: the artifact cannot be used; its subclass says why.
        DeviceError: devices are missing, all of them named, or a vendor refused a model.
        UsageError: an unknown name in ``simulate``, or ``trust`` is none of these.

    Example:
        with load("detector.lbr", simulate=["atlas"]) as session:
            outputs = session.run({"image": image})
    """
    wanted = conditions(trust)
    artifact = from_bytes(source, trust=wanted) if isinstance(source, bytes | memoryview) else read(source, trust=wanted)
    told = [simulate] if isinstance(simulate, str) else list(simulate)
    from_environment = [name.strip() for name in os.environ.get(SIMULATE, "").split(",")]
    session = Session(artifact, simulate=[name for name in (*told, *from_environment) if name])
    _LOG.info("loaded '%s', sha256:%s", artifact.name, artifact.digest)
    return session


class Session:
    """An artifact with its devices open and its offline models loaded.

    Attributes:
        artifact: what was loaded, without the bytes of its sections.
        inputs: what `run` takes.
        outputs: what it returns.
        simulated: names of the vendors that a simulator stands in for.
    """

    def __init__(self, artifact: Artifact, *, simulate: Iterable[str] = ()) -> None:
        """Open everything that the artifact needs; see `load`."""
        self._opened = OpenArtifact(artifact, tuple(dict.fromkeys(simulate)))
        self.artifact = self._opened.artifact
        plan = self.artifact.plan
        self._gate = Gate(plan, self._opened.devices)
        self.inputs: tuple[TensorInfo, ...] = self._gate.inputs
        self.outputs: tuple[TensorInfo, ...] = tuple(
            TensorInfo(entry.name, buffer.dtype, buffer.shape, buffer.device)
            for entry in plan.outputs
            for buffer in (plan.buffers[entry.buffer],)
        )
        self.simulated: tuple[str, ...] = self._opened.simulated
        self._runners: OrderedDict[tuple[int, ...], Runner] = OrderedDict()
        self._bound: weakref.WeakSet[BoundRun] = weakref.WeakSet()
        self._phases = dict.fromkeys(PHASES, 0)
        self._abandoned: deque[Binding] = deque()
        self._lock = threading.RLock()
        self._shut_down = weakref.finalize(self, _shut_down, self._opened, self._runners, self._bound, self._abandoned)

    @property
    def report(self) -> Report:
        """What the compiler did: crossings, casts and fallbacks."""
        return self.artifact.report

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs by name.

        An input is a NumPy array, a tensor in host memory of any library with DLPack, or, where the model takes it on a device, a
        `DeviceTensor` of this session, which is not copied. Arrays that are C-contiguous and aligned to 64 bytes are not copied either,
        unless an offline model reads them as they are. Outputs are fresh NumPy arrays, or `DeviceTensor` where the model leaves them on a
        device. Elements of types that NumPy lacks, such as bfloat16, go in and out as unsigned integers of the same width.

        Raises:
            InputError: an input is missing, unknown, or has the wrong type, dtype, shape or place; nothing has run.
            DeviceError: a step failed, which it names; the session is as before.
            SessionClosed: after `close`.
        """
        return self._run(inputs, call_steps)

    def profile(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Trace]:
        """Run once with every step timed by itself, which costs a little; return the outputs and the trace.

        Raises:
            InputError, DeviceError, SessionClosed: as `run`.

        Example:
            outputs, trace = session.profile({"image": image})
            trace.save("trace.json")  # open it in Perfetto
        """
        spans: list[Span] = []
        outputs = self._run(inputs, Timed(spans))
        return outputs, Trace(self.artifact, tuple(spans), tuple(self.simulated))

    def boundaries(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Boundary, ...]]:
        """Run once; return the outputs, and what each offline model was given and gave.

        Raises:
            InputError, DeviceError, SessionClosed: as `run`.

        Example:
            outputs, boundaries = session.boundaries({"image": image})
            for value in boundaries[0].inputs:
                print(boundaries[0].model, value.name, value.array)
        """
        found: list[Boundary] = []
        outputs = self._run(inputs, Tapped(found))
        return outputs, tuple(found)

    def _run(self, inputs: Mapping[str, Any], steps: Stepper) -> dict[str, Any]:
        values, dims = self._gate.admit(inputs)
        with self._lock:
            runner = self._runner(dims)
            phases = dict.fromkeys(PHASES, 0)
            outputs = runner.run(values, phases, steps)
            self._phases = phases
        return outputs

    def __call__(self, value: Any) -> dict[str, Any]:
        """Run a model of one input; otherwise as `run`."""
        if len(self.inputs) != 1:
            names = ", ".join(f"'{info.name}'" for info in self.inputs) or "none"
            raise InputError(f"one value for {len(self.inputs)} inputs", hint=f"use run({{name: value}}); inputs: {names}")
        return self.run({self.inputs[0].name: value})

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> BoundRun:
        """Return a callable that runs on these very arrays: it reads ``inputs`` and writes ``outputs``, each time it is called.

        It has memory of its own beside the session's, until it is closed or collected.

        Raises:
            InputError: as `run`; or an output is missing, unknown, of another dtype or shape, not writable, or overlaps an input.
        """
        values, dims = self._gate.admit(inputs)
        for info, value in zip(self.inputs, values, strict=True):
            given = inputs[info.name]
            if isinstance(given, np.ndarray) and isinstance(value, np.ndarray) and given.size and not np.may_share_memory(given, value):
                raise InputError(
                    f"{given.dtype.str} is not this machine's byte order", at=f"input '{info.name}'", hint="convert it once before"
                )
        with self._lock:
            self._check_open()
            _close_abandoned(self._abandoned)
            binding = Binding(self._opened, dims)
            try:
                bound = BoundRun(binding, values, outputs, self._lock, self._abandoned.append)
            except BaseException:
                binding.close()
                raise
            self._bound.add(bound)
        return bound

    def to_device(self, value: Any, device: str | Device) -> DeviceTensor:
        """Return a copy of an array on a device of this session, to be given to `run`.

        Raises:
            UsageError: this session has no such device.
            InputError: ``value`` is not an array, or its dtype is not plain data.
        """
        name = str(Device.parse(device))
        opened = self._opened.devices.get(name)
        if opened is None:
            known = ", ".join(self._opened.devices) or "none besides the CPU"
            raise UsageError(f"this session has no device {name}", hint=f"devices of '{self.artifact.name}': {known}")
        array = as_array(value, "value")
        if not dtypes.is_dtype(array.dtype.name):
            raise InputError(f"elements of {array.dtype}, expected plain numbers", at="value", hint="convert it: array.astype(…)")
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        info = self._taker(array, name)
        dtype = info.dtype if info else array.dtype.name
        with self._lock:
            self._check_open()
            block = opened.allocate(max(array.nbytes, self._reserved(info, array.shape) if info else 0))
            copy_to_device(opened, block.address, array)
        return DeviceTensor(opened, block, block.address, dtype, array.shape)

    def phases(self) -> dict[str, int]:
        """Return the nanoseconds that the last run spent in each phase (`landbridge.runtime.execute.PHASES`)."""
        return dict(self._phases)

    def plan_text(self, dims: Mapping[str, Any] | None = None) -> str:
        """Return how the batch of each offline model is split into launches, a line each, such as ``backbone.om: 20 -> 8+8+4``.

        Args:
            dims: the extent of each named dimension; or inputs, whose shapes tell.

        Raises:
            InputError: a dimension is missing or unknown, or an offline model cannot take these extents.
        """
        given = {name: value.__index__() if isinstance(value, int | np.integer) else value for name, value in (dims or {}).items()}
        extents = (
            self._gate.admit(given)[1] if given and not all(isinstance(value, int) for value in given.values()) else self._order(given)
        )
        with self._lock:
            binding = self._runner(extents).binding
            for root in binding.keyed:
                binding.place_home(root)
            launches = [extern.launches() for extern in binding.externs]
        return "\n".join(f"{name}: {batch} -> {'+'.join(map(str, split)) or batch}" for name, batch, split in launches)

    def close(self) -> None:
        """Wait for a run in progress, then give everything back, device tensors that callers still hold included. Idempotent."""
        with self._lock:
            self._shut_down()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        simulated = f", simulated: {', '.join(self.simulated)}" if self.simulated else ""
        return f"Session('{self.artifact.name}'{simulated})"

    def _check_open(self) -> None:
        if not self._shut_down.alive:
            raise SessionClosed(f"the session on '{self.artifact.name}' is closed", hint="load the artifact again")

    def _runner(self, dims: tuple[int, ...]) -> Runner:
        """Return what runs these extents: one of the last few, or a new one."""
        self._check_open()
        _close_abandoned(self._abandoned)
        runner = self._runners.get(dims)
        if runner is not None:
            self._runners.move_to_end(dims)
            return runner
        while len(self._runners) >= _BINDINGS:
            self._runners.popitem(last=False)[1].binding.close()
        try:
            runner = Runner(Binding(self._opened, dims))
        except (DeviceError, MemoryError):
            if not self._runners:
                raise
            while self._runners:  # what other extents hold may be what is missing
                self._runners.popitem()[1].binding.close()
            runner = Runner(Binding(self._opened, dims))
        self._runners[dims] = runner
        return runner

    def _order(self, dims: Mapping[str, int]) -> tuple[int, ...]:
        """Return extents in the plan's order."""
        names = self.artifact.plan.dims
        if set(dims) != set(names):
            listed = ", ".join(names) or "none"
            raise InputError(
                f"extents of {', '.join(dims) or 'nothing'}", at="plan_text", hint=f"give the extent of each dimension: {listed}"
            )
        for name, extent in dims.items():
            if extent < 0:
                raise InputError(f"{extent} for dimension '{name}'", at="plan_text", hint="an extent is 0 or more")
        return tuple(dims[name] for name in names)

    def _taker(self, array: np.ndarray[Any, Any], device: str) -> TensorInfo | None:
        """Return the first input on ``device`` that such an array fits."""
        for info in self.inputs:
            same = dtypes.holder(info.dtype) == array.dtype or info.dtype == array.dtype.name
            rank = len(info.shape) == array.ndim
            if (
                info.device == device
                and same
                and rank
                and all(not isinstance(e, int) or e == n for e, n in zip(info.shape, array.shape, strict=True))
            ):
                return info
        return None

    def _reserved(self, info: TensorInfo, shape: tuple[int, ...]) -> int:
        """Return the bytes that a plan reserves for an input, where its own shape tells: the model may read beyond the tensor."""
        plan = self.artifact.plan
        entry = next(entry for entry in plan.inputs if entry.name == info.name)
        extents = {name: extent for name, extent in zip(info.shape, shape, strict=True) if isinstance(name, str)}
        known = all(dim in extents for dim in dims_of(plan.buffers[entry.buffer].nbytes))
        return evaluate(plan.buffers[entry.buffer].nbytes, extents) if known else 0


def _shut_down(
    opened: OpenArtifact,
    runners: MutableMapping[tuple[int, ...], Runner],
    bound: weakref.WeakSet[BoundRun],
    abandoned: deque[Binding],
) -> None:
    """Give everything back: at `Session.close`, else when the session is collected or the process ends."""
    for run in list(bound):
        run.close()
    _close_abandoned(abandoned)
    while runners:
        runners.popitem()[1].binding.close()
    opened.close()


def _close_abandoned(abandoned: deque[Binding]) -> None:
    """Close the bindings of bound runs that were collected. Not done while they are collected: a vendor may hold a lock then."""
    while abandoned:
        abandoned.popleft().close()
