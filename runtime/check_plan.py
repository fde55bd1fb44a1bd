"""Check a plan against its rules: ``docs/artifact.md`` lists them.

What depends on the extents of named dimensions is checked by `check_sizes`, when a session binds the plan to extents; everything
else by `check_plan`, when the plan is read. After both, every index, address range and order that execution relies on holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from landbridge.runtime import dtypes
from landbridge.runtime.dims import Size, evaluate, names, render
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactLimit, PlanError
from landbridge.runtime.opaque import STRING, is_opaque
from landbridge.runtime.plan import ALIGNMENT, LATE, Buffer, Copy, Extern, Interface, Plan, Segment, Step

MAX_RANK = 16
"""The most axes of a tensor."""
MAX_NBYTES = 2**48
"""The most bytes of a buffer or an arena."""

_DEVICE = re.compile(r"cpu|(?!cpu\d)[a-z][a-z_]*(0|[1-9]\d{0,4})")


def check_plan(plan: Plan, path: str = "plan") -> None:
    """Check everything about ``plan`` that holds for all extents.

    Args:
        path: what errors call the plan.

    Raises:
        ArtifactCorrupt: naming the field that is wrong.
        ArtifactLimit: naming the field that is too large.
    """
    _check_distinct(plan.dims, f"{path}.dims")
    for name in plan.ranges:
        if name not in plan.dims:
            _fail(f"{path}.ranges", f"unknown dimension '{name}'")
    if "" in plan.dims:
        _fail(f"{path}.dims", "a dimension without a name")
    for index, buffer in enumerate(plan.buffers):
        _check_buffer(plan, buffer, f"{path}.buffers[{index}]")
    for index in range(len(plan.buffers)):
        _check_alias(plan, index, f"{path}.buffers[{index}]")
    _check_chains(plan, path)
    for device, size in plan.arenas.items():
        _check_device(device, f"{path}.arenas.{device}")
        _check_size(plan, size, f"{path}.arenas.{device}")
    _check_interfaces(plan, path)
    _check_steps(plan, path)


def check_sizes(plan: Plan, extents: Mapping[str, int]) -> list[tuple[tuple[int, ...], int, int]]:
    """Return shape, reserved bytes and offset of every buffer for these extents, after checking that they fit each other.

    Raises:
        PlanError: naming the buffer that does not fit.
    """
    arenas = {device: evaluate(size, extents) for device, size in plan.arenas.items()}
    result: list[tuple[tuple[int, ...], int, int]] = []
    for index, buffer in enumerate(plan.buffers):
        shape = tuple(evaluate(extent, extents) for extent in buffer.shape)
        nbytes, offset = evaluate(buffer.nbytes, extents), evaluate(buffer.offset, extents)
        result.append((shape, nbytes, offset))
        if buffer.storage == "late":
            continue
        room = arenas[buffer.device] if buffer.storage == "arena" else MAX_NBYTES
        if (
            min(shape, default=0) < 0
            or nbytes < dtypes.nbytes_of(buffer.dtype, shape)
            or not 0 <= offset <= room - nbytes
            or offset % ALIGNMENT
        ):
            at = ", ".join(f"{name}={value}" for name, value in extents.items())
            raise PlanError(
                f"buffer '{buffer.name}' of shape {list(shape)} does not fit into {nbytes} bytes at {offset} of {room}",
                at=f"plan.buffers[{index}] with {at}",
            )
    for index, buffer in enumerate(plan.buffers):
        if buffer.storage == "alias" and result[index][2] + result[index][1] > result[buffer.base][1]:
            raise PlanError(f"alias '{buffer.name}' reaches beyond '{plan.buffers[buffer.base].name}'", at=f"plan.buffers[{index}]")
    return result


def roots(plan: Plan) -> list[int]:
    """Return for each buffer the one whose memory it is: itself, or where its chain of aliases ends."""
    result = list(range(len(plan.buffers)))
    for index in range(len(result)):
        chain = [index]
        while plan.buffers[chain[-1]].storage == "alias" and result[chain[-1]] == chain[-1]:
            chain.append(plan.buffers[chain[-1]].base)
        for member in chain:
            result[member] = result[chain[-1]]
    return result


def _check_buffer(plan: Plan, buffer: Buffer, at: str) -> None:
    _check_device(buffer.device, f"{at}.device")
    opaque = is_opaque(buffer.dtype)
    if not dtypes.is_dtype(buffer.dtype) and not opaque:
        _fail(f"{at}.dtype", f"unknown dtype '{buffer.dtype}'")
    if opaque and buffer.storage != "late":
        _fail(f"{at}.storage", f"'{buffer.storage}' for {buffer.dtype}, expected 'late'")
    if opaque and buffer.dtype != STRING and buffer.shape:
        _fail(f"{at}.shape", f"{len(buffer.shape)} axes of {buffer.dtype}, expected none")
    if len(buffer.shape) > MAX_RANK:
        raise ArtifactLimit(f"{len(buffer.shape)} axes, at most {MAX_RANK} are allowed", at=f"{at}.shape")
    for axis, extent in enumerate(buffer.shape):
        _check_size(plan, extent, f"{at}.shape[{axis}]")
        if extent == LATE and buffer.storage != "late":
            _fail(f"{at}.shape[{axis}]", "an extent that only the data tells, in a buffer that is not late")
    _check_size(plan, buffer.nbytes, f"{at}.nbytes")
    _check_size(plan, buffer.offset, f"{at}.offset")
    if isinstance(buffer.offset, int) and buffer.offset % ALIGNMENT:
        _fail(f"{at}.offset", f"{buffer.offset}, expected a multiple of {ALIGNMENT}")
    _check_storage(plan, buffer, at)
    if buffer.storage == "late":
        return
    known = [extent for extent in buffer.shape if isinstance(extent, int)]
    if len(known) == len(buffer.shape) and isinstance(buffer.nbytes, int):
        needed = dtypes.nbytes_of(buffer.dtype, known)
        if needed > buffer.nbytes:
            _fail(f"{at}.nbytes", f"{buffer.nbytes}, but {buffer.dtype} {known} takes {needed}")


def _check_storage(plan: Plan, buffer: Buffer, at: str) -> None:
    """Check which fields a kind of storage has."""
    if (buffer.base >= 0) != (buffer.storage == "alias"):
        _fail(f"{at}.base", f"{buffer.base} in a buffer of storage '{buffer.storage}'")
    if bool(buffer.section) != (buffer.storage == "constant"):
        _fail(f"{at}.section", f"'{buffer.section}' in a buffer of storage '{buffer.storage}'")
    if buffer.storage in ("input", "late") and buffer.offset != 0:
        _fail(f"{at}.offset", f"{render(buffer.offset)} in a buffer of storage '{buffer.storage}', expected 0")
    if buffer.storage in ("constant", "late") and buffer.device != "cpu":
        _fail(f"{at}.device", f"{buffer.device}, but storage '{buffer.storage}' is on the CPU")
    if buffer.storage == "late" and buffer.nbytes != 0:
        _fail(f"{at}.nbytes", f"{render(buffer.nbytes)} in a buffer of storage 'late', expected 0")
    if buffer.storage == "constant" and any(not isinstance(size, int) for size in (*buffer.shape, buffer.nbytes, buffer.offset)):
        _fail(at, "a constant whose size depends on dimensions")
    if buffer.storage == "arena":
        if buffer.device not in plan.arenas:
            _fail(f"{at}.device", f"{buffer.device} has no arena")
        _check_inside(buffer, plan.arenas[buffer.device], at)


def _check_alias(plan: Plan, index: int, at: str) -> None:
    buffer = plan.buffers[index]
    if buffer.storage != "alias":
        return
    _check_index(plan, buffer.base, f"{at}.base")
    base = plan.buffers[buffer.base]
    if base.storage == "late":
        _fail(f"{at}.base", f"{buffer.base} is a late buffer, which has no memory of its own")
    if buffer.device != base.device and "cpu" not in (buffer.device, base.device):
        _fail(f"{at}.device", f"{buffer.device}, but its memory is on {base.device}")
    _check_inside(buffer, base.nbytes, at)


def _check_chains(plan: Plan, path: str) -> None:
    """Check that every chain of aliases ends."""
    ends: set[int] = set()
    for index in range(len(plan.buffers)):
        chain: dict[int, None] = {}
        member = index
        while member not in ends and plan.buffers[member].storage == "alias":
            if member in chain:
                _fail(f"{path}.buffers[{member}].base", "a circle of aliases")
            chain[member] = None
            member = plan.buffers[member].base
        ends.update(chain)


def _check_inside(buffer: Buffer, room: Size, at: str) -> None:
    parts = (buffer.offset, buffer.nbytes, room)
    if all(isinstance(size, int) for size in parts) and buffer.offset + buffer.nbytes > room:
        _fail(at, f"{buffer.nbytes} bytes at {buffer.offset} reach beyond {room}")


def _check_interfaces(plan: Plan, path: str) -> None:
    """Check inputs and outputs, and that the inputs tell every dimension."""
    for kind, entries in (("inputs", plan.inputs), ("outputs", plan.outputs)):
        for index, entry in enumerate(entries):
            _check_index(plan, entry.buffer, f"{path}.{kind}[{index}].buffer")
        _check_distinct([entry.name for entry in entries], f"{path}.{kind}")
    _check_inputs(plan, plan.inputs, path)
    whole = {extent for entry in plan.inputs for extent in plan.buffers[entry.buffer].shape if isinstance(extent, str)}
    for index, dim in enumerate(plan.dims):
        if dim not in whole:
            _fail(f"{path}.dims[{index}]", f"no input has an axis whose extent is '{dim}'")


def _check_inputs(plan: Plan, entries: Sequence[Interface], path: str) -> None:
    for index, entry in enumerate(entries):
        storage = plan.buffers[entry.buffer].storage
        wanted = "late" if is_opaque(plan.buffers[entry.buffer].dtype) else "input"
        if storage != wanted:
            _fail(f"{path}.inputs[{index}].buffer", f"buffer {entry.buffer} has storage '{storage}', expected '{wanted}'")
    listed = Counter(entry.buffer for entry in entries)
    for index, buffer in enumerate(plan.buffers):
        if listed[index] != 1 and (buffer.storage == "input" or listed[index]):
            _fail(f"{path}.buffers[{index}]", f"an input buffer that {listed[index]} inputs name, expected 1")


def _check_steps(plan: Plan, path: str) -> None:
    """Check each step, and that what it reads was written before."""
    memory_of = roots(plan)
    written = {index for index, buffer in enumerate(plan.buffers) if buffer.storage in ("input", "constant")}
    written |= {entry.buffer for entry in plan.inputs}  # those that are no tensors of numbers are late
    read_only = frozenset(written)
    for index, step in enumerate(plan.steps):
        at = f"{path}.steps[{index}]"
        _check_members(plan, step, index, at)
        # the kernels of a segment read what earlier kernels of the same segment wrote, through views too
        own = {memory_of[buffer] for buffer in step.writes} if isinstance(step, Segment) else set()
        for buffer in step.reads:
            if memory_of[buffer] not in written | own:
                _fail(at, f"reads buffer {buffer} ('{plan.buffers[buffer].name}'), which no earlier step writes")
        for buffer in step.writes:
            if memory_of[buffer] in read_only:
                _fail(at, f"writes buffer {buffer} ('{plan.buffers[buffer].name}'), which is an input or a constant")
            written.add(memory_of[buffer])
    for index, entry in enumerate(plan.outputs):
        if memory_of[entry.buffer] not in written:
            _fail(f"{path}.outputs[{index}]", f"no step writes buffer {entry.buffer}")


def _check_members(plan: Plan, step: Step, index: int, at: str) -> None:
    for position, earlier in enumerate(step.after):
        if earlier >= index:
            _fail(f"{at}.after[{position}]", f"step {earlier} is not before step {index}")
    if isinstance(step, Segment):
        _check_segment(plan, step, at)
    elif isinstance(step, Copy):
        _check_copy(plan, step, at)
    else:
        _check_extern(plan, step, at)


def _check_segment(plan: Plan, step: Segment, at: str) -> None:
    for position, buffer in enumerate(step.buffers):
        _check_index(plan, buffer, f"{at}.buffers[{position}]")
        found = plan.buffers[buffer]
        if found.device != "cpu":
            _fail(f"{at}.buffers[{position}]", f"buffer {buffer} is on {found.device}, a segment runs on the CPU")
        if found.storage == "late":
            _fail(f"{at}.buffers[{position}]", f"buffer {buffer} is late; only an offline model can read or write it")
    for position, buffer in enumerate(step.writes):
        if buffer not in step.buffers:
            _fail(f"{at}.writes[{position}]", f"buffer {buffer} is not one of the segment's buffers")
    for position, dim in enumerate(step.dims):
        if dim not in plan.dims:
            _fail(f"{at}.dims[{position}]", f"unknown dimension '{dim}'")


def _check_copy(plan: Plan, step: Copy, at: str) -> None:
    _check_index(plan, step.source, f"{at}.source")
    _check_index(plan, step.destination, f"{at}.destination")
    source, destination = plan.buffers[step.source], plan.buffers[step.destination]
    if (source.device == "cpu") == (destination.device == "cpu"):
        _fail(at, f"copies from {source.device} to {destination.device}; a copy joins the CPU and one device")
    if (source.dtype, source.shape) != (destination.dtype, destination.shape):
        _fail(at, f"copies {_tensor(source)} to {_tensor(destination)}")
    for buffer in (source, destination):
        if buffer.storage == "late":
            _fail(at, f"copies the late buffer '{buffer.name}'")
    if step.once and source.storage != "constant":
        _fail(f"{at}.once", f"the source has storage '{source.storage}', expected 'constant'")


def _check_extern(plan: Plan, step: Extern, at: str) -> None:
    _check_device(step.device, f"{at}.device")
    for kind, members in (("inputs", step.inputs), ("outputs", step.outputs)):
        for position, buffer in enumerate(members):
            _check_index(plan, buffer, f"{at}.{kind}[{position}]")
            found = plan.buffers[buffer]
            handed = kind == "outputs" and found.storage == "late"  # by the device's driver, to the host
            if found.device != step.device and not handed:
                _fail(f"{at}.{kind}[{position}]", f"buffer {buffer} is on {found.device}, the model runs on {step.device}")


def _check_size(plan: Plan, size: Size, at: str) -> None:
    for name in names(size):
        if name not in plan.dims:
            _fail(at, f"unknown dimension '{name}'")
    if isinstance(size, int) and size > MAX_NBYTES:
        raise ArtifactLimit(f"{size}, at most {MAX_NBYTES} is allowed", at=at)


def _check_index(plan: Plan, index: int, at: str) -> None:
    if not 0 <= index < len(plan.buffers):
        _fail(at, f"buffer {index} does not exist, there are {len(plan.buffers)}")


def _check_device(name: str, at: str) -> None:
    if not _DEVICE.fullmatch(name):
        _fail(at, f"'{name}' is not the name of a device")


def _check_distinct(texts: Iterable[str], at: str) -> None:
    seen: set[str] = set()
    for index, text in enumerate(texts):
        if text in seen:
            _fail(f"{at}[{index}]", f"'{text}' appears twice")
        seen.add(text)


def _tensor(buffer: Buffer) -> str:
    return f"{buffer.dtype} [{', '.join(render(extent) for extent in buffer.shape)}]"


def _fail(at: str, message: str) -> None:
    raise ArtifactCorrupt(message, at=at)
