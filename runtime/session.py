"""An artifact, loaded and ready to run.

A session may be used from any number of threads; each run has memory and prepared calls of its own (`landbridge.runtime.leases`).
Results are arrays of their own, valid after the next run and after `Session.close`. After an error in a run the next run starts
afresh, unless the session has failed (`landbridge.runtime.lifecycle`).
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from landbridge.runtime import notebook
from landbridge.runtime.artifact import Artifact, from_bytes, read
from landbridge.runtime.binding import Binding
from landbridge.runtime.choose import ModelChoice
from landbridge.runtime.container import Blob
from landbridge.runtime.device import Device
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import DeviceError, DeviceTimeout, InputError, UsageError
from landbridge.runtime.execute import NO_TIME, Stepper, Watched, call_steps
from landbridge.runtime.gate import Gate, TensorInfo
from landbridge.runtime.gears import GearPlan
from landbridge.runtime.leases import Leases, default_limit
from landbridge.runtime.lifecycle import Lifecycle, State
from landbridge.runtime.memory import DeviceTensor
from landbridge.runtime.opaque import example
from landbridge.runtime.open_artifact import OpenArtifact
from landbridge.runtime.report import Report
from landbridge.runtime.steps import describe_step
from landbridge.runtime.trust import conditions
from landbridge.runtime.workers import Deadline

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from landbridge.runtime.bound import BoundRun
    from landbridge.runtime.boundaries import Boundary
    from landbridge.runtime.stats import Stats
    from landbridge.runtime.trace import Span, Trace

_LOG = logging.getLogger(__name__)

SIMULATE = "LANDBRIDGE_SIMULATE"
"""Environment variable: names of vendors to simulate, separated by commas, besides those that `load` is told."""

_TOGETHER_S = 1.0
"""How long the runs of a warm-up wait for each other, so that each has a lease of its own."""


def load(
    source: str | Path | Blob,
    *,
    simulate: Iterable[str] = (),
    trust: Any = None,
    leases: int | None = None,
    replay: str | Path | None = None,
    threads: int | None = None,
) -> Session:
    """Return a session on an artifact.

    Args:
        source: the path of an artifact, or its bytes.
        simulate: names of vendors whose devices a simulator stands in for.
        trust: "sha256:" and the digest of the artifact to accept, the public key of a signer to accept (the path of a ``.pub`` file, or
            a key object of the package ``cryptography``), or a list of such. Where the environment variable ``LANDBRIDGE_TRUST`` names
            a folder of ``.pub`` files, one of these keys must have signed the artifact, whatever else is trusted.
        leases: how many runs may be under way at once for one set of extents, each with memory of its own, which is allocated when it
            is first needed; by default enough to keep the processors and the offline models busy.
        replay: a folder that `Session.record` wrote, which takes the place of all devices: no vendor's software is needed.
        threads: on how many threads the host code of one run computes at most; by default as many as ``LANDBRIDGE_NUM_THREADS`` says, else
            as the process may use processors. All sessions share the threads of the process, and runs at the same time divide them.

    Raises:
        ArtifactError: the artifact cannot be used; its subclass says why.
        DeviceError: devices are missing, all of them named, or a vendor refused a model.
        UsageError: an unknown name in ``simulate``, ``trust`` is none of these, or no thread is left to compute.

    Example:
        >>> with lb.load("digits/digits.lbr", simulate=["atlas"]) as session:
        ...     outputs = session.run({"image": images})
        >>> outputs["digit"][:4].tolist()
        [0, 4, 8, 2]
    """
    wanted = conditions(trust)
    artifact = from_bytes(source, trust=wanted) if isinstance(source, bytes | memoryview) else read(source, trust=wanted)
    told = [simulate] if isinstance(simulate, str) else list(simulate)
    from_environment = [name.strip() for name in os.environ.get(SIMULATE, "").split(",")]
    vendors = [name for name in (*told, *from_environment) if name]
    session = Session(artifact, simulate=vendors, leases=leases, replay=replay, threads=threads)
    for label in session._life.opened.labels():
        _LOG.warning(label)
    _LOG.info("loaded '%s', sha256:%s", artifact.name, artifact.digest)
    return session


class Session:
    """An artifact with its devices open and its offline models loaded.

    Attributes:
        artifact: what was loaded, without the bytes of its sections; of an offline model with several blobs, the one that runs here is
            the first.
        inputs: what `run` takes.
        outputs: what it returns.
        simulated: names of the vendors that a simulator or a recording stands in for.

    Example:
        >>> with lb.load("digits/digits.lbr", simulate=["atlas"]) as session:
        ...     print(session.inputs[0].name, session.inputs[0])
        ...     session.run({"image": images[:3]})["digit"].shape
        image uint8 [n, 8, 8, 1]
        (3,)
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        simulate: Iterable[str] = (),
        leases: int | None = None,
        replay: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        """Open everything that the artifact needs; see `load`."""
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads", hint="give 1 or more")
        opened = OpenArtifact(artifact, replay, threads)
        symbols = [record.symbol for record in artifact.externs]
        limit = default_limit(symbols, os.cpu_count() or 1) if leases is None else leases
        if limit < 1:
            raise UsageError(f"{limit} leases", hint="give 1 or more")
        self._life = Lifecycle(artifact.name, opened, Leases(opened, limit))
        self._end = weakref.finalize(self, self._life.end)
        opened.open(artifact, tuple(dict.fromkeys(simulate)))
        self.artifact = opened.artifact
        plan = artifact.plan
        self._gate = Gate(plan, opened.devices)
        self.inputs: tuple[TensorInfo, ...] = self._gate.inputs
        self.outputs: tuple[TensorInfo, ...] = tuple(
            TensorInfo(entry.name, buffer.dtype, buffer.shape, buffer.device)
            for entry in plan.outputs
            for buffer in (plan.buffers[entry.buffer],)
        )
        self.simulated: tuple[str, ...] = opened.simulated
        self._phases = NO_TIME.copy()

    @property
    def state(self) -> State:
        """READY, DRAINING while it is being closed, FAILED, or CLOSED."""
        return self._life.state

    @property
    def report(self) -> Report:
        """What the compiler did: crossings, casts and fallbacks."""
        return self.artifact.report

    @property
    def choices(self) -> tuple[ModelChoice, ...]:
        """Which of its blobs each offline-model call runs, and why; for a call with one blob, that one."""
        return self._life.opened.choices

    def run(self, inputs: Mapping[str, Any], *, deadline_s: float | None = None) -> dict[str, Any]:
        """Return the outputs by name. Any number of threads may run at once.

        An input is a NumPy array, a tensor in host memory of any library with DLPack, or, where the model takes it on a device, a
        `DeviceTensor` of this session, which is not copied. Arrays that are C-contiguous and aligned to 16 bytes, as NumPy's own are,
        are not copied either, unless an offline model reads them as they are. Outputs are fresh NumPy arrays, or `DeviceTensor` where
        the model leaves them on a device. Elements of types that NumPy lacks, such as bfloat16, go in and out as unsigned integers of
        the same width.

        Args:
            inputs: by name; not to be changed before this returns.
            deadline_s: seconds after which to give up, the wait for other runs included. The run is then left alone on a thread of its
                own, and the session has failed; where it had not begun yet, the session is as before.

        Raises:
            InputError: an input is missing, unknown, or has the wrong type, dtype, shape or place; nothing has run.
            DeviceError: a step failed, which it names; its ``state`` is the session's afterwards.
            DeviceLost: the device is of no use any more; the session has failed.
            DeviceTimeout: the deadline has passed.
            SessionClosed: after `close`.
        """
        return self._run(inputs, call_steps) if deadline_s is None else self._run_until(inputs, deadline_s)

    def run_async(self, inputs: Mapping[str, Any], *, deadline_s: float | None = None) -> Future[dict[str, Any]]:
        """Begin a run on another thread and return what will have its outputs, or the error that `run` raises.

        Args:
            inputs: as for `run`; not to be changed before the result is there.
            deadline_s: as for `run`, from when it begins.

        Raises:
            SessionClosed, DeviceError: the session takes no more runs.

        Example:
            >>> later = session.run_async({"image": images})
            >>> outputs = later.result()
        """
        self._life.check()
        return self._life.workers.submit(lambda: self.run(inputs, deadline_s=deadline_s), self._life.leases.limit)

    def stream(
        self, requests: Iterable[Mapping[str, Any]], *, depth: int | None = None, deadline_s: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the outputs of each request, in order, with several requests under way at once.

        While one request is on a device, others are on the host or on other devices: the slowest stage sets the pace.

        Args:
            requests: inputs as for `run`; taken only as far ahead as ``depth``, and not to be changed before their outputs are yielded.
            depth: how many requests are under way at most; as many as the session has leases by default.
            deadline_s: for each request, as for `run`.

        Raises:
            UsageError: ``depth`` is less than 1.
            Exception: what `run` raises for a request, after the outputs of those before it; no further one has begun, none is under way.

        Example:
            >>> for outputs in session.stream({"image": images[i : i + 4]} for i in (0, 4)):
            ...     print(outputs["digit"])
            [0 4 8 2]
            [6 0 4 8]
        """
        from landbridge.runtime.stream import stream

        self._life.check()
        wanted = self._life.leases.limit if depth is None else depth
        if wanted < 1:
            raise UsageError(f"a depth of {wanted}", hint="give 1 or more")
        return stream(lambda inputs: self.run_async(inputs, deadline_s=deadline_s), iter(requests), wanted)

    def warm_up(self, dims: Mapping[str, int] | None = None, *, leases: int = 1) -> None:
        """Run once on zeros, so that the first real run takes no longer than the others.

        Args:
            dims: the extent of each named dimension.
            leases: on so many leases: for as many threads, or for `stream`.

        Raises:
            InputError: a dimension is missing or unknown, or an offline model cannot take these extents.
            DeviceError, SessionClosed: as `run`.
        """
        extents = dict(zip(self.artifact.plan.dims, self._gate.order(dims or {}, "warm_up"), strict=True))
        zeros = {info.name: example(info.dtype, tuple(evaluate(size, extents) for size in info.shape)) for info in self.inputs}
        count = min(max(leases, 1), self._life.leases.limit)
        together = threading.Barrier(count)

        def run_with_others(binding: Binding, phases: dict[str, int]) -> None:
            with suppress(threading.BrokenBarrierError):  # there was no room for so many leases, or one of the others failed
                together.wait(_TOGETHER_S)
            call_steps(binding, phases)

        self._life.check()
        runs = [self._life.workers.submit(lambda: self._run(zeros, run_with_others), count) for _ in range(count)]
        for run in runs:
            run.result()

    def stats(self) -> Stats:
        """Return what the session has done so far. Runs of `bind` are not counted: they do nothing but run."""
        from landbridge.runtime.stats import Stats

        return Stats.of(self._life)

    def profile(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Trace]:
        """Run once with every step timed by itself, which costs a little; return the outputs and the trace.

        Raises:
            InputError, DeviceError, SessionClosed: as `run`.

        Example:
            >>> outputs, trace = session.profile({"image": images})
            >>> trace.save("trace.json")  # open it in Perfetto
        """
        from landbridge.runtime.trace import Timed, Trace

        spans: list[Span] = []
        outputs = self._run(inputs, Timed(spans))
        return outputs, Trace(self.artifact, tuple(spans), tuple(self.simulated))

    def boundaries(self, inputs: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], tuple[Boundary, ...]]:
        """Run once; return the outputs, and what each offline model was given and gave.

        Args:
            inputs: as `run` takes them.
            given: values, by the user's names, that the offline models on devices give in place of being called, each with all of its
                outputs; for sessions on a recording (``load(…, replay=folder)``), where a device's memory is the host's.

        Raises:
            InputError, DeviceError, SessionClosed: as `run`.

        Example:
            >>> outputs, boundaries = session.boundaries({"image": images})
            >>> for value in boundaries[0].inputs:
            ...     print(boundaries[0].model, value.name, value.array.shape)
            backbone.om normalised (20, 1, 8, 8)
        """
        from landbridge.runtime.boundaries import Tapped

        found: list[Boundary] = []
        outputs = self._run(inputs, Tapped(found, given or {}))
        return outputs, tuple(found)

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run once and return the outputs, after checking that each offline model writes all of its outputs and nothing beyond them.

        Raises:
            DeviceError: one does not; the message has the output and how many bytes (`landbridge.runtime.check_models`).
            InputError, SessionClosed: as `run`.
        """
        from landbridge.runtime.check_models import check_models

        return self._run(inputs, check_models)

    def record(self, inputs: Mapping[str, Any], folder: str | Path) -> dict[str, Any]:
        """Run once and return the outputs; add to ``folder`` what each offline model was given and gave, for ``load(…, replay=folder)``.

        Raises:
            InputError, DeviceError, SessionClosed: as `run`.
            OSError: the folder cannot be written.
        """
        from landbridge.runtime.replay import record_calls

        outputs, boundaries = self.boundaries(inputs)
        record_calls(folder, self.artifact, boundaries, self._life.opened.homes)
        return outputs

    def _run(self, inputs: Mapping[str, Any], steps: Stepper, deadline: Deadline | None = None) -> dict[str, Any]:
        values, dims = self._gate.admit(inputs)
        life = self._life
        while True:
            if life.state != "READY":
                life.check()
            lease = life.leases.choose(dims)
            with lease.turn:
                if lease.runner is None or life.state != "READY":
                    continue  # it had to make way for others, or the session is being closed
                if deadline is not None:
                    deadline.begin()
                phases, started = NO_TIME.copy(), perf_counter_ns()
                try:
                    outputs = lease.runner.run(values, phases, steps)
                except BaseException as error:
                    lease.failures += 1
                    if isinstance(error, DeviceError):
                        life.note(error)
                    raise
                lease.runs += 1
                lease.elapsed_ns += perf_counter_ns() - started
                self._phases = phases
                return outputs

    def _run_until(self, inputs: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        """Run on another thread, and leave it alone there when time is up."""
        deadline, watched, life = Deadline(deadline_s), Watched(), self._life

        def job() -> dict[str, Any]:
            try:
                return self._run(inputs, watched, deadline)
            finally:
                life.after_run()

        in_time, outputs = deadline.run(job)
        if in_time and outputs is not None:
            return outputs
        error = DeviceTimeout(f"not done within {deadline_s} s", hint="give more time, or look at what the device does")
        if deadline.begun:
            error.step = watched.step
            if error.step is not None:
                error.at, error.device = describe_step(self.artifact, error.step)
            life.fail(error)
        error.state = life.state
        raise error

    def __call__(self, value: Any) -> dict[str, Any]:
        """Run a model of one input; otherwise as `run`."""
        if len(self.inputs) != 1:
            names = ", ".join(f"'{info.name}'" for info in self.inputs) or "none"
            raise InputError(f"one value for {len(self.inputs)} inputs", hint=f"use run({{name: value}}); inputs: {names}", code="LB1201")
        return self.run({self.inputs[0].name: value})

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> BoundRun:
        """Return a callable that runs on these very arrays: it reads ``inputs`` and writes ``outputs``, each time it is called.

        It has memory of its own beside the session's, until it is closed or collected.

        Raises:
            InputError: as `run`; or an output is missing, unknown, of another dtype or shape, not writable, or overlaps an input.
        """
        from landbridge.runtime.bound import BoundRun, check_holdable, check_same_memory

        check_holdable((*self.inputs, *self.outputs))
        values, dims = self._gate.admit(inputs)
        check_same_memory(self.inputs, inputs, values)
        with self._life.aside:
            self._life.check()
            self._life.leases.sweep()
            bound = BoundRun(self._life)
            self._life.bound.add(bound)
            bound.prepare(dims, values, outputs)
        return bound

    def to_device(self, value: Any, device: str | Device) -> DeviceTensor:
        """Return a copy of an array on a device of this session, to be given to `run`.

        Raises:
            UsageError: this session has no such device.
            InputError: ``value`` is not an array, or its dtype is not plain data.
        """
        from landbridge.runtime.to_device import to_device

        return to_device(self._life, self.inputs, value, device)

    def phases(self) -> dict[str, int]:
        """Return the nanoseconds that the last run spent in each phase (`landbridge.runtime.execute.PHASES`).

        Of steps that ran at the same time each counts in full.
        """
        return dict(self._phases)

    def plan_text(self, dims: Mapping[str, Any] | None = None) -> str:
        """Return how the batch of each offline model is split into launches, a line each.

        Such as ``backbone.om: 20 -> 8+8+4, nothing padded``.

        Args:
            dims: the extent of each named dimension; or inputs, whose shapes tell.

        Raises:
            InputError: a dimension is missing or unknown, or an offline model cannot take these extents.
        """
        given = {name: value.__index__() if isinstance(value, int | np.integer) else value for name, value in (dims or {}).items()}
        extents = (
            self._gate.admit(given)[1]
            if given and not all(isinstance(value, int) for value in given.values())
            else self._gate.order(given, "plan_text")
        )
        self._life.check()
        lease = self._life.leases.choose(extents)
        with lease.turn:
            self._life.check()
            if lease.binding is None:
                raise InputError(f"extents {list(extents)} had to make way for others", at="plan_text", hint="call it again", code="LB1209")
            for root in lease.binding.keyed:
                lease.binding.place_home(root)
            launches = [extern.launches() for extern in lease.binding.externs]
        return "\n".join(f"{name}: {GearPlan(batch, split).text if split else f'{batch} -> {batch}'}" for name, batch, split in launches)

    def close(self, timeout: float | None = None) -> None:
        """Let no run begin any more, wait for those under way, then give everything back, device tensors that callers hold included.

        Idempotent. After the session has failed it does not wait; what a run that hangs may still use is given back when that returns.

        Args:
            timeout: seconds to wait at most.

        Raises:
            DeviceTimeout: a run takes longer; the session stays DRAINING, and close may be called again.
        """
        self._life.close(timeout)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        simulated = f", simulated: {', '.join(self.simulated)}" if self.simulated else ""
        takes, gives = (", ".join(f"{info.name}: {info}" for info in infos) for infos in (self.inputs, self.outputs))
        return f"Session('{self.artifact.name}', {self.state}, {takes} -> {gives}{simulated})"

    def _repr_html_(self) -> str:
        ends = [(kind, info.name, str(info)) for kind, infos in (("input", self.inputs), ("output", self.outputs)) for info in infos]
        models = [(one.name or one.symbol, f"{one.vendor} on {one.device}", repr(one.signature)) for one in self.artifact.externs]
        simulated = f", simulated: {', '.join(self.simulated)}" if self.simulated else ""
        return "".join(
            [
                notebook.title(f"{self.artifact.name}: {self.state}{simulated}"),
                notebook.table("inputs and outputs", ("", "name", "type"), ends),
                notebook.table("offline models", ("name", "runs on", "signature"), models),
            ]
        )
