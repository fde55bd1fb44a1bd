"""Load an Ascend offline model and call it: its description, its memory, its gears.

The datasets of a call (the vendor's argument lists) are made once, when the call is prepared: one pair for each launch, each
with its own addresses. What a run does is set the gear and execute, launch after launch.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from ctypes import byref, c_size_t, c_uint32, c_void_p
from functools import partial
from typing import TYPE_CHECKING, Any

from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import InputError, PlanError, UnsupportedError
from landbridge.runtime.gears import GearPlan, Spread, check_size, gear_names, plan_gears, spread_of
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, Port, Signature
from landbridge.runtime.vendors.atlas import acl as c
from landbridge.runtime.vendors.atlas.description import Description, compare, read_description
from landbridge.runtime.vendors.atlas.format import ITEM_NBYTES
from landbridge.runtime.vendors.atlas.open_outputs import run_open

if TYPE_CHECKING:
    from landbridge.runtime.vendors.atlas.driver import AtlasDriver


class AtlasModel(LoadedModel):
    """An offline model on a device.

    Attributes:
        driver: the device.
        signature: what was recorded when the program was compiled; the device's description agrees with it.
        spread: how a batch may be spread over the gears.
        description: what the vendor's library says of the model.
        model_id: the vendor's handle.
        lock: held while the model runs: the vendor forbids running one handle twice at once.
    """

    def __init__(self, driver: AtlasDriver, blob: bytes, signature: Signature, options: Mapping[str, str]) -> None:
        """Load ``blob``.

        Raises:
            DeviceError: the vendor refused it, or describes it otherwise than ``signature``.
            UsageError: an option with an unknown value.
        """
        self.driver = driver
        self.signature = signature
        self.spread = spread_of(options)
        self.lock = threading.Lock()
        self._calls: set[AtlasCall] = set()
        with ExitStack() as stack:
            self.model_id = _load(driver, blob, stack)
            self.description = self._describe(stack)
            compare(self.description, signature, driver.acl.at)
            self._stack = stack.pop_all()

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> AtlasCall:
        """Bind the arguments; a batch that is no gear becomes several launches."""
        call = AtlasCall(self, inputs, outputs)
        self._calls.add(call)
        return call

    def make_dataset(self, buffers: Sequence[tuple[int, int]], stack: ExitStack) -> int:
        """Return an argument list of these addresses and sizes; ``stack`` frees it."""
        driver = self.driver
        driver.bind()
        dataset = driver.acl.create("aclmdlCreateDataset")
        stack.callback(driver.quietly, "aclmdlDestroyDataset", dataset)
        for address, nbytes in buffers:
            buffer = driver.acl.create("aclCreateDataBuffer", address, nbytes)
            stack.callback(driver.quietly, "aclDestroyDataBuffer", buffer)
            driver.acl.call("aclmdlAddDatasetBuffer", dataset, buffer)
        return dataset

    def run_open(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef | None]) -> list[Any]:
        """Run once, and hand the outputs whose shape only the data tells to the host."""
        _bind_extents(self.signature, inputs)
        return list(run_open(self, inputs, outputs))

    def forget(self, call: AtlasCall) -> None:
        """Take note that ``call`` is closed."""
        self._calls.discard(call)

    def close(self) -> None:
        """Free the calls that are left, unload the model, free its memory."""
        for call in list(self._calls):
            call.close()
        with self.lock:
            self._stack.close()
        self.driver.forget(self)

    def _describe(self, stack: ExitStack) -> Description:
        acl = self.driver.acl
        self.driver.bind()
        handle = acl.create("aclmdlCreateDesc")
        stack.callback(self.driver.quietly, "aclmdlDestroyDesc", handle)
        acl.call("aclmdlGetDesc", handle, self.model_id)
        return read_description(acl, handle)


@dataclass(frozen=True)
class _Launch:
    """One execution: its argument lists and its gear (the numbers to set, none for a model of one size)."""

    inputs: int
    outputs: int
    gear: tuple[int, ...]


class AtlasCall(PreparedCall):
    """A call of a model with its arguments bound."""

    def __init__(self, model: AtlasModel, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        """Make the argument lists.

        Raises:
            InputError: shapes that the model cannot take.
            PlanError: a launch would write beyond an output's memory.
        """
        self._model = model
        extents = _bind_extents(model.signature, inputs)
        plan = _plan(model.signature, extents, model.spread)
        gears: list[tuple[int, ...]] = [(piece,) for piece in plan.pieces] if plan else [_gear(model.signature, extents)]
        self.launches = plan.pieces if plan and plan.pieces != (plan.batch,) else ()
        execute = model.driver.acl.function("aclmdlExecute")
        self._execute = partial(execute, model.model_id)
        with ExitStack() as stack:
            hidden = self._allocate_gear(stack)
            self._launches = tuple(self._make_launches(inputs, outputs, plan.pieces if plan else (0,), gears, hidden, stack))
            self._padding = tuple(_padding(model.signature, inputs, plan.padded)) if plan else ()
            self._stack = stack.pop_all()

    def __call__(self) -> None:
        """Run all launches, one after the other."""
        model = self._model
        with model.lock:
            if not self._launches:
                raise PlanError("a call was used after it was closed")
            model.driver.bind()
            for address, nbytes in self._padding:
                model.driver.acl.call("aclrtMemset", address, nbytes, 0, nbytes)
            for launch in self._launches:
                if launch.gear:
                    self._set_gear(launch)
                code = self._execute(launch.inputs, launch.outputs)
                if code != c.SUCCESS:
                    raise model.driver.acl.failure("aclmdlExecute", code)

    def close(self) -> None:
        """Free the argument lists and the gear's buffer."""
        with self._model.lock:
            self._launches = ()
            self._stack.close()
        self._model.forget(self)

    def _allocate_gear(self, stack: ExitStack) -> int:
        """Return the address of the hidden input's buffer, 0 for a model without gears."""
        driver, description = self._model.driver, self._model.description
        if description.gear_index is None:
            return 0
        address = driver.allocate(description.inputs[description.gear_index].nbytes)
        stack.callback(driver.quietly, "aclrtFree", address)
        return address

    def _make_launches(
        self,
        inputs: Sequence[TensorRef],
        outputs: Sequence[TensorRef],
        pieces: tuple[int, ...],
        gears: Sequence[tuple[int, ...]],
        hidden: int,
        stack: ExitStack,
    ) -> Iterator[_Launch]:
        signature, description = self._model.signature, self._model.description
        if self.launches:
            _check_divisible(signature)
        row = 0
        for piece, gear in zip(pieces, gears, strict=True):
            sources = iter(zip(signature.inputs, inputs, strict=True))
            arguments = [
                (hidden, tensor.nbytes) if index == description.gear_index else _input_slice(*next(sources), row, piece, tensor.nbytes)
                for index, tensor in enumerate(description.inputs)
            ]
            results = [
                _output_slice(port, ref, row, tensor.nbytes)
                for port, ref, tensor in zip(signature.outputs, outputs, description.outputs, strict=True)
            ]
            yield _Launch(self._model.make_dataset(arguments, stack), self._model.make_dataset(results, stack), gear)
            row += piece

    def _set_gear(self, launch: _Launch) -> None:
        """Select the gear; the vendor keeps it with the model, so that every launch sets it."""
        model, acl = self._model, self._model.driver.acl
        kind = model.signature.gears.kind if model.signature.gears else ""
        at = (model.model_id, launch.inputs, model.description.gear_index)
        if kind == "batch":
            acl.call("aclmdlSetDynamicBatchSize", *at, launch.gear[0])
        elif kind == "image":
            acl.call("aclmdlSetDynamicHWSize", *at, launch.gear[0], launch.gear[1])
        else:
            dims = c.IODims(dimCount=len(launch.gear))
            dims.dims[: len(launch.gear)] = launch.gear
            acl.call("aclmdlSetInputDynamicDims", *at, byref(dims))


def _load(driver: AtlasDriver, blob: bytes, stack: ExitStack) -> int:
    """Load the model into memory allocated here, so that running out of it is told with the sizes; return its handle."""
    acl = driver.acl
    driver.bind()
    host = ctypes.cast(ctypes.c_char_p(blob), c_void_p).value or 0
    work, weights = c_size_t(), c_size_t()
    acl.call("aclmdlQuerySizeFromMem", host, len(blob), byref(work), byref(weights))
    memory: list[tuple[int, int]] = []
    for nbytes in (work.value, weights.value):
        address = driver.allocate(nbytes) if nbytes else 0
        if address:
            stack.callback(driver.quietly, "aclrtFree", address)
        memory.append((address, nbytes))
    model_id = c_uint32()
    with ExitStack() as temporary:
        source = host
        if driver.run_on_device:
            source = driver.allocate(len(blob))
            temporary.callback(driver.quietly, "aclrtFree", source)
            driver.copy_in(source, host, len(blob))
        if acl.has("aclmdlLoadWithConfig"):
            _load_with_config(acl, (source, len(blob)), memory, model_id)
        else:
            acl.call("aclmdlLoadFromMemWithMem", source, len(blob), byref(model_id), *memory[0], *memory[1])
    stack.callback(driver.quietly, "aclmdlUnload", model_id.value)
    return model_id.value


def _load_with_config(acl: c.Acl, blob: tuple[int, int], memory: list[tuple[int, int]], model_id: c_uint32) -> None:
    config = acl.create("aclmdlCreateConfigHandle")
    (work, work_nbytes), (weights, weights_nbytes) = memory
    options: list[tuple[int, Any]] = [
        (c.CONFIG_LOAD_TYPE, c_size_t(c.LOAD_FROM_MEM_WITH_MEM)),
        (c.CONFIG_MEM_ADDRESS, c_void_p(blob[0])),
        (c.CONFIG_MEM_SIZE, c_size_t(blob[1])),
        (c.CONFIG_WORKSPACE_ADDRESS, c_void_p(work)),
        (c.CONFIG_WORKSPACE_SIZE, c_size_t(work_nbytes)),
        (c.CONFIG_WEIGHT_ADDRESS, c_void_p(weights)),
        (c.CONFIG_WEIGHT_SIZE, c_size_t(weights_nbytes)),
    ]
    try:
        for option, value in options:
            acl.call("aclmdlSetConfigOpt", config, option, byref(value), ctypes.sizeof(value))
        acl.call("aclmdlLoadWithConfig", config, byref(model_id))
    finally:
        acl.get("aclmdlDestroyConfigHandle", config)


def _bind_extents(signature: Signature, inputs: Sequence[TensorRef]) -> dict[str, int]:
    """Return the extents of the signature's named dimensions in a call with these inputs."""
    if len(inputs) != len(signature.inputs):
        raise InputError(f"{len(inputs)} inputs, expected {len(signature.inputs)}", code="LB1203")
    extents: dict[str, int] = {}
    for port, ref in zip(signature.inputs, inputs, strict=True):
        expected = [
            extents.setdefault(dim, found) if isinstance(dim, str) else dim for dim, found in zip(port.shape, ref.shape, strict=False)
        ]
        if ref.dtype != port.dtype or list(ref.shape) != expected or len(ref.shape) != len(port.shape):
            want = f"{port.dtype} [{', '.join(map(str, port.shape))}]"
            raise InputError(f"{ref.dtype} {list(ref.shape)}, expected {want}", at=f"input '{port.name}'", code="LB1203")
    return extents


def _plan(signature: Signature, extents: dict[str, int], spread: Spread) -> GearPlan | None:
    """Return how the batch is run, None for a model without batch gears."""
    gears = signature.gears
    if gears is None or gears.kind != "batch":
        return None
    leading = next(port for port in signature.inputs if BATCH in port.shape)
    return plan_gears(extents[BATCH], gears.batches, spread, at=f"input '{leading.name}'")


def _padding(signature: Signature, inputs: Sequence[TensorRef], rows: int) -> Iterator[tuple[int, int]]:
    """Yield address and size of what a call reads beyond its tensors: the rows that nobody asked for, which are to be zero."""
    for port, ref in zip(signature.inputs, inputs, strict=True):
        if rows and port.shape[:1] == (BATCH,):
            yield ref.address + _nbytes(ref, ref.shape), rows * _nbytes(ref, ref.shape[1:])


def _gear(signature: Signature, extents: dict[str, int]) -> tuple[int, ...]:
    """Return the numbers to set for a call of a model with gears of another kind than batches, () for one without gears."""
    gears = signature.gears
    if gears is None:
        return ()
    names = gear_names(signature)
    sized = next(port for port in signature.inputs if names[0] in port.shape)
    wanted = tuple(extents[name] for name in names)
    check_size(gears, wanted, at=f"input '{sized.name}'")
    if gears.kind == "image":
        return wanted
    return tuple(extents[dim] if isinstance(dim, str) else dim for port in signature.inputs for dim in port.shape)


def _check_divisible(signature: Signature) -> None:
    for port in signature.outputs:
        if port.shape[:1] != (BATCH,):
            hint = "feed a batch that is itself a gear, or compile the model with one"
            raise UnsupportedError(
                "an output without a batch cannot be cut from padded launches or put together from several",
                at=f"output '{port.name}'",
                hint=hint,
            )


def _input_slice(port: Port, ref: TensorRef, row: int, rows: int, most_nbytes: int) -> tuple[int, int]:
    """Return address and size of what a launch reads: as much as the model may ask for, but nothing beyond the buffer."""
    start, needed = 0, _nbytes(ref, ref.shape)
    if port.shape[:1] == (BATCH,):
        start, needed = row * _nbytes(ref, ref.shape[1:]), rows * _nbytes(ref, ref.shape[1:])
    left = ref.capacity - start
    if left < needed:
        raise PlanError(f"a launch reads {needed} bytes from byte {start} on, the buffer has {ref.capacity}", at=f"input '{port.name}'")
    return ref.address + start, max(needed, min(left, most_nbytes))


def _output_slice(port: Port, ref: TensorRef, row: int, most_nbytes: int) -> tuple[int, int]:
    """Return address and size of what a launch writes; the vendor may write as much as the largest gear gives."""
    start = row * _nbytes(ref, ref.shape[1:]) if port.shape[:1] == (BATCH,) else 0
    if start + most_nbytes > ref.capacity:
        text = f"a launch may write {most_nbytes} bytes from byte {start} on, the buffer has {ref.capacity}"
        raise PlanError(text, at=f"output '{port.name}'")
    return ref.address + start, most_nbytes


def _nbytes(ref: TensorRef, shape: Sequence[int]) -> int:
    return math.prod(shape) * ITEM_NBYTES[ref.dtype]
