"""A function of an offline model, as libcnrt describes it: its inputs and outputs, and the signature that follows.

Everything here works on the library's fake device too, where there is no card.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_void_p
from typing import Any

from landbridge.runtime.dims import render_shape
from landbridge.runtime.dtypes import nbytes_of
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.records import dataclass
from landbridge.runtime.signature import BATCH, Dim, Port, Signature
from landbridge.runtime.vendors.cambricon.cnrt import Cnrt
from landbridge.runtime.vendors.cambricon.format import CORES, DTYPES, NHWC

_log = logging.getLogger(__name__)

HEIGHT, WIDTH = "height", "width"

Quietly = Callable[..., None]
"""Calls a function that frees something, so that its failure does not hide another."""


@dataclass(frozen=True)
class Parameter:
    """An input or output as the library describes it.

    Attributes:
        name: the vendor's, or "input0" … where the release does not tell.
        code: of its ``cnrtDataType_t``.
        shape: what it was compiled for.
        supported: the same with -1 where any extent will do.
        nbytes: of the memory it takes with ``shape``.
    """

    name: str
    code: int
    shape: tuple[int, ...]
    supported: tuple[int, ...]
    nbytes: int

    def dtype(self, at: str) -> str:
        """Return the dtype.

        Raises:
            DeviceError: it has none here.
        """
        if self.code not in DTYPES:
            raise DeviceError(
                f"'{self.name}' has the cnrtDataType {self.code:#x}, which no tensor here can have",
                at=at,
                hint=f"compile the model with one of {', '.join(dict.fromkeys(DTYPES.values()))} there",
                code="LB4007",
            )
        return DTYPES[self.code]


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a function."""

    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]


def load_model(cnrt: Cnrt, address: int, stack: ExitStack, quietly: Quietly) -> int:
    """Load the model at ``address``, which must stay there; return its handle. ``stack`` unloads it.

    The library is not told how long the model is: the caller makes sure that it is whole.
    """
    model = c_void_p()
    cnrt.call("cnrtLoadModelFromMem", byref(model), address)
    stack.callback(quietly, "cnrtUnloadModel", model.value)
    return model.value or 0


def symbols(cnrt: Cnrt, model: int) -> list[str]:
    """Return the names of a model's functions."""
    number = c_int()
    cnrt.call("cnrtGetFunctionNumber", model, byref(number))
    found = []
    for index in range(number.value):
        text, length = c_void_p(), c_int()
        cnrt.call("cnrtGetFunctionSymbol", model, index, byref(text), byref(length))
        found.append(ctypes.string_at(text.value or 0, length.value).rstrip(b"\0").decode("utf-8", "replace"))
    return found


def choose_symbol(cnrt: Cnrt, model: int, wanted: str) -> str:
    """Return the function to run: ``wanted``, or the only one.

    Raises:
        DeviceError: it is not in the model, or there are several and none is named.
    """
    if wanted and not (cnrt.has("cnrtGetFunctionNumber") and cnrt.has("cnrtGetFunctionSymbol")):
        return wanted
    known = symbols(cnrt, model)
    if wanted in known:
        return wanted
    if not wanted and len(known) == 1:
        return known[0]
    found = f"it has no function '{wanted}'" if wanted else f"it has {len(known)} functions"
    raise DeviceError(found, at=cnrt.at, hint=f"give one of its symbols: {', '.join(known) or 'it has none'}", code="LB4007")


def extract(cnrt: Cnrt, model: int, symbol: str, stack: ExitStack, quietly: Quietly) -> int:
    """Return the handle of the function ``symbol``. ``stack`` destroys it."""
    function = c_void_p()
    cnrt.call("cnrtCreateFunction", byref(function))
    stack.callback(quietly, "cnrtDestroyFunction", function.value)
    cnrt.call("cnrtExtractFunction", byref(function), model, symbol.encode())
    return function.value or 0


def core_of(cnrt: Cnrt, model: int) -> str:
    """Return the chip that a model is for, "" where the release does not tell."""
    version = c_int()
    if not cnrt.has("cnrtQueryCoreVersion"):
        return ""
    cnrt.call("cnrtQueryCoreVersion", model, byref(version))
    return CORES.get(version.value, f"core version {version.value}")


# ---- what it takes and gives


def read_interface(cnrt: Cnrt, function: int, *, mutable: bool) -> Interface:
    """Return what the library says of a function.

    Args:
        mutable: also ask which extents may change.
    """
    names = _names(cnrt, function)
    sides = []
    for side, given in zip(("Input", "Output"), names, strict=True):
        sizes, count = POINTER(c_int64)(), c_int()
        cnrt.call(f"cnrtGet{side}DataSize", byref(sizes), byref(count), function)
        codes, also = POINTER(c_int)(), c_int()
        cnrt.call(f"cnrtGet{side}DataType", byref(codes), byref(also), function)
        found = []
        for index in range(count.value):
            shape = _shape(cnrt, f"cnrtGet{side}DataShape", after=(index, function))
            name = given[index] if given else f"{side.lower()}{index}"
            supported = _supported(cnrt, function, name, shape) if mutable and given else shape
            found.append(Parameter(name, codes[index], shape, supported, sizes[index]))
        sides.append(tuple(found))
    return Interface(*sides)


def _names(cnrt: Cnrt, function: int) -> tuple[list[str], list[str]]:
    """Return the names of inputs and outputs, nothing where the release does not tell."""
    if not cnrt.has("cnrtGetInputAndOutputNamesFromFunction"):
        return [], []
    inputs, outputs, n_in, n_out = POINTER(c_char_p)(), POINTER(c_char_p)(), c_int(), c_int()
    cnrt.call("cnrtGetInputAndOutputNamesFromFunction", function, byref(inputs), byref(outputs), byref(n_in), byref(n_out))
    try:
        counted = ((inputs, n_in.value), (outputs, n_out.value))
        first, second = ([(names[index] or b"").decode("utf-8", "replace") for index in range(count)] for names, count in counted)
        return first, second
    finally:
        if cnrt.has("cnrtDestroyInputAndOutputNames"):
            cnrt.call("cnrtDestroyInputAndOutputNames", inputs, outputs, n_in, n_out)


def _shape(cnrt: Cnrt, name: str, before: Sequence[Any] = (), after: Sequence[Any] = ()) -> tuple[int, ...]:
    """Return the shape that a function gives as a fresh array; ``before`` and ``after`` are its arguments around the shape."""
    dims, ndim = POINTER(c_int)(), c_int()
    cnrt.call(name, *before, byref(dims), byref(ndim), *after)
    shape = tuple(dims[axis] for axis in range(ndim.value))
    if cnrt.has("cnrtReleaseInternalResource"):
        cnrt.call("cnrtReleaseInternalResource", dims)
    return shape


def _supported(cnrt: Cnrt, function: int, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not cnrt.has("cnrtGetSupportedParamShapeByName"):
        return shape
    extents = (c_int * max(len(shape), 1))()
    cnrt.call("cnrtGetSupportedParamShapeByName", function, name.encode(), extents)
    return tuple(-1 if extents[axis] < 0 else extent for axis, extent in enumerate(shape))


class ParameterDescs:
    """Descriptors of a call's parameters: inputs, then outputs. ``array`` is what the library takes."""

    def __init__(self, cnrt: Cnrt, count: int, stack: ExitStack, quietly: Quietly) -> None:
        """Make ``count`` of them. ``stack`` destroys them."""
        self._cnrt = cnrt
        self.array = (c_void_p * count)()
        for index in range(count):
            desc = c_void_p()
            cnrt.call("cnrtCreateParamDesc", byref(desc))
            stack.callback(quietly, "cnrtDestroyParamDesc", desc.value)
            self.array[index] = desc.value

    def set(self, index: int, code: int, shape: Sequence[int]) -> None:
        """Say what a parameter is."""
        self._cnrt.call("cnrtSetShapeToParamDesc", self.array[index], (c_int * max(len(shape), 1))(*shape), len(shape))
        self._cnrt.call("cnrtSetDataTypeToParamDesc", self.array[index], code)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return what shape a parameter has."""
        return _shape(self._cnrt, "cnrtGetShapeFromParamDesc", before=(self.array[index],))


def infer(cnrt: Cnrt, function: int, interface: Interface, shapes: Sequence[Sequence[int]], quietly: Quietly) -> list[tuple[int, ...]]:
    """Return the shapes of the outputs for inputs of ``shapes``, as the library infers them."""
    n_in, n_out = len(interface.inputs), len(interface.outputs)
    with ExitStack() as stack:
        descs = ParameterDescs(cnrt, n_in + n_out, stack, quietly)
        for index, (parameter, shape) in enumerate(zip(interface.inputs, shapes, strict=True)):
            descs.set(index, parameter.code, shape)
        outputs = (c_void_p * n_out)(*descs.array[n_in:])
        cnrt.call("cnrtInferFunctionOutputShape", function, n_in, descs.array, n_out, outputs)
        for index in range(n_out):
            descs.array[n_in + index] = outputs[index]
        return [descs.shape(n_in + index) for index in range(n_out)]


# ---- the signature


def signature_of(cnrt: Cnrt, function: int, interface: Interface, core: str, quietly: Quietly) -> Signature:
    """Return the signature of a function, with names for those open dimensions whose effect on the outputs is no more than to be theirs.

    A dimension that the outputs depend on in another way (half of it, say) keeps the extent it was compiled for.
    """
    names = _open_dimensions(interface)
    named: dict[tuple[int, int], str] = {}
    outs: list[list[Dim]] = [list(parameter.shape) for parameter in interface.outputs]
    for name, places in names.items():
        followed = _follow(cnrt, function, interface, places, quietly)
        if followed is None:
            continue
        named.update(dict.fromkeys(places, name))
        for output, axis in followed:
            outs[output][axis] = name
    inputs = tuple(
        _port(cnrt, parameter, [named.get((index, axis), extent) for axis, extent in enumerate(parameter.shape)])
        for index, parameter in enumerate(interface.inputs)
    )
    outputs = tuple(_port(cnrt, parameter, shape) for parameter, shape in zip(interface.outputs, outs, strict=True))
    facts = ["inputs", "outputs", *(["versions"] if core else [])]
    return Signature(inputs, outputs, versions={"core": core} if core else {}, origin=dict.fromkeys(facts, "device"))


def _open_dimensions(interface: Interface) -> dict[str, list[tuple[int, int]]]:
    """Return the (input, axis) places of each name that an open dimension is given."""
    found: dict[str, list[tuple[int, int]]] = {}
    for index, parameter in enumerate(interface.inputs):
        for axis, extent in enumerate(parameter.supported):
            if extent >= 0:
                continue
            rank4 = {1: HEIGHT, 2: WIDTH} if len(parameter.shape) == 4 else {}
            name = BATCH if axis == 0 else rank4.get(axis, f"{parameter.name}_{axis}")
            same = all(interface.inputs[other].shape[at] == parameter.shape[axis] for other, at in found.get(name, []))
            found.setdefault(name if same else f"{parameter.name}_{name}", []).append((index, axis))
    return found


def _follow(
    cnrt: Cnrt, function: int, interface: Interface, places: Sequence[tuple[int, int]], quietly: Quietly
) -> list[tuple[int, int]] | None:
    """Return the (output, axis) places that are the dimension at ``places``; None where it acts on the outputs in another way."""
    shapes = [list(parameter.shape) for parameter in interface.inputs]
    extent = shapes[places[0][0]][places[0][1]]
    changed = [list(shape) for shape in shapes]
    for index, axis in places:
        changed[index][axis] = 2 * extent
    try:
        before = infer(cnrt, function, interface, shapes, quietly)
        after = infer(cnrt, function, interface, changed, quietly)
    except DeviceError as error:
        _log.info("a dimension stays as it was compiled, because the library cannot tell what follows from it: %s", error)
        return None
    found = []
    for output, (old, new) in enumerate(zip(before, after, strict=True)):
        for axis, (was, now) in enumerate(zip(old, new, strict=True)):
            if was != now and (was, now) != (extent, 2 * extent):
                return None
            if was != now:
                found.append((output, axis))
    return found


def _port(cnrt: Cnrt, parameter: Parameter, shape: Sequence[Dim]) -> Port:
    layout = NHWC if len(shape) == 4 else "ND"
    return Port(parameter.name, parameter.dtype(cnrt.at), tuple(shape), layout)


# ---- agreement with what was recorded


def compare(interface: Interface, signature: Signature, at: str) -> None:
    """Check that what the library says of a function is what the program was compiled with.

    Raises:
        DeviceError: naming the first input or output that differs.
    """
    for kind, parameters, ports in (("input", interface.inputs, signature.inputs), ("output", interface.outputs, signature.outputs)):
        if len(parameters) != len(ports):
            raise DeviceError(f"the model has {len(parameters)} {kind}s, its signature {len(ports)}", at=at, hint=_AGAIN, code="LB4007")
        for parameter, port in zip(parameters, ports, strict=True):
            found, expected = parameter.dtype(at), port.dtype
            if found != expected or not _fits(parameter, port, kind):
                raise DeviceError(
                    f"{kind} '{parameter.name}' is {found} {render_shape(parameter.supported)} on the device, "
                    f"its signature says {expected} {render_shape(port.shape)}",
                    at=at,
                    hint=_AGAIN,
                    code="LB4007",
                )
            _check_nbytes(parameter, port, kind, at)


_AGAIN = "capture the signature again from this blob, and compile the artifact again"


def _fits(parameter: Parameter, port: Port, kind: str) -> bool:
    """Return whether a port's shape is one that the function takes; what outputs become is checked when a call is prepared."""
    if len(parameter.shape) != len(port.shape):
        return False
    extents = zip(parameter.supported, port.shape, strict=True)
    return all(own == -1 or (own == extent if isinstance(extent, int) else kind == "output") for own, extent in extents)


def _check_nbytes(parameter: Parameter, port: Port, kind: str, at: str) -> None:
    expected = nbytes_of(port.dtype, parameter.shape)
    if parameter.nbytes != expected:
        raise DeviceError(
            f"{kind} '{parameter.name}' takes {parameter.nbytes} bytes on the device, as a dense tensor {expected}", at=at, code="LB4007"
        )
