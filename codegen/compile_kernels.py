"""Schedule kernels and compile each to an object of its own; an object that was made before, here or by another process, is not made again.

What an object is made from decides its name: the kernel as it comes from TVM's fusion, the target, the rules, and the compiler's version.
So a model of which one constant or one layer was changed costs the compilation of what changed, and equal kernels are one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm.tirx.buffer import BufferType

from landbridge.codegen.cautious_target import cautious
from landbridge.codegen.object_cache import ObjectCache
from landbridge.codegen.schedules import schedule_kernels
from landbridge.codegen.write_over import merged

_LOG = logging.getLogger(__name__)

_HERE = Path(__file__).parent

ALIGNMENT = 16
"""What kernels may take the addresses of buffers to be multiples of; ``lb_alignment`` of support.c says it to the runtime. Arrays
of NumPy are: more, and every input that is one would have to be copied. Vectors that lie across lines of the cache cost less."""


@dataclass(frozen=True)
class CompiledKernels:
    """Kernels as objects.

    Attributes:
        symbols: for each kernel the function that it is, in TVM's calling convention; equal kernels have one.
        objects: the relocatable objects with these functions, in the order of the kernels' names.
    """

    symbols: Mapping[str, str]
    objects: tuple[bytes, ...]


def compile_kernels(kernels: tvm.IRModule, target: Any) -> CompiledKernels:
    """Return the compiled kernels; the same arguments give the same bytes.

    Args:
        kernels: TensorIR functions by name, before any schedule.
        target: the TVM target.
    """
    functions = {str(variable.name_hint): _with_alignment(_with_plain_names(function)) for variable, function in kernels.functions.items()}
    symbols = {name: _symbol(name, functions[name], target) for name in sorted(functions)}
    chosen = {symbol: functions[name] for name, symbol in symbols.items()}
    store = ObjectCache.open()
    found = {symbol: data for symbol in chosen if (data := store.get(symbol)) is not None}
    missing = [symbol for symbol in chosen if symbol not in found]
    scheduled = {symbol: _schedule(chosen[symbol], symbol, target) for symbol in missing}
    targets = {symbol: cautious(chosen[symbol], target) for symbol in missing}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:  # LLVM works without the interpreter's lock
        compiled = pool.map(lambda symbol: _compile(scheduled[symbol], _merged(_plain(chosen[symbol], symbol)), targets[symbol]), missing)
        made = dict(zip(missing, compiled, strict=True))
    for symbol, data in made.items():
        store.put(symbol, data)
    if made:
        store.prune()
    objects = {**found, **made}
    return CompiledKernels({name: f"{_PREFIX}{symbol}" for name, symbol in symbols.items()}, tuple(objects[symbol] for symbol in chosen))


_PREFIX = "__tvm_ffi_"  # what TVM puts before the name of a function in its calling convention


_NUMBERED = re.compile(r"(?:node|param|lv|gv)_?\d*(?![a-z])")  # how Relax's variables are called (`landbridge.codegen.lower`)


def _with_plain_names(function: Any) -> Any:
    """Return a kernel without the numbers that its values have in the whole model: they change with every operator before it."""
    renamed: dict[Any, Any] = {}

    def rename(variable: Any) -> Any:
        numbered = _NUMBERED.match(str(variable.name))
        if numbered is None:
            return variable
        if variable not in renamed:
            renamed[variable] = type(variable)(f"value{len(renamed)}{variable.name[numbered.end() :]}", variable.ty)
        return renamed[variable]

    return tvm_ffi.structural_map(function, [(tvm.ir.Var, rename)])


def _with_alignment(function: Any) -> Any:
    """Return a kernel that expects no more than `ALIGNMENT` of its buffers."""
    fresh = {
        param: tvm.tirx.decl_buffer(list(param.ty.shape), param.ty.dtype, str(param.name), data_alignment=ALIGNMENT)
        for param in function.params
        if isinstance(param.ty, BufferType)
    }
    return tvm_ffi.structural_map(function, [(tvm.ir.Var, lambda variable: fresh.get(variable, variable))])


def _symbol(name: str, function: Any, target: Any) -> str:
    """Return the name under which a kernel is compiled: what it does, and a digest of all that its object depends on."""
    stem = re.sub(r"(?<=[a-z])\d+(?=_|$)", "", name)
    content = tvm.ir.save_json(function.with_attr("global_symbol", stem))
    digest = hashlib.sha256("\0".join([_tools(), str(target), content]).encode()).hexdigest()
    return f"{stem[:80]}_{digest[:32]}"


@cache
def _tools() -> str:
    """Return a digest of the rules, and the versions of the compiler."""
    digest = hashlib.sha256()
    for file in (Path(__file__), _HERE / "cautious_target.py", _HERE / "write_over.py", *sorted((_HERE / "schedules").glob("*.py"))):
        digest.update(file.read_bytes())
    versions = [metadata.version(package) for package in ("apache-tvm", "apache-tvm-ffi")]
    return " ".join([digest.hexdigest(), *versions])


def _schedule(function: Any, symbol: str, target: Any) -> tvm.IRModule:
    return _merged(schedule_kernels(_plain(function, symbol), target))


def _merged(kernels: tvm.IRModule) -> tvm.IRModule:
    return tvm.IRModule({variable: merged(function) for variable, function in kernels.functions.items()})


def _plain(function: Any, symbol: str) -> tvm.IRModule:
    return tvm.IRModule({symbol: function.with_attr("global_symbol", symbol)})


def _compile(scheduled: tvm.IRModule, plain: tvm.IRModule, target: Any) -> bytes:
    """Return the object of a scheduled kernel; of the kernel with no schedule where TVM fails on the loops of the scheduled one.

    It does on joined loops over extents such as ``samples // 5 - 1``, which its analysis of regions does not divide.
    """
    try:
        return _object(scheduled, target)
    except tvm.error.InternalError as error:
        _LOG.debug("compiled with no schedule: %s", error)
        return _object(plain, target)


def _object(module: tvm.IRModule, target: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="landbridge-") as folder, tvm.transform.PassContext(opt_level=3):
        file = Path(folder, "kernel.o")
        tvm.tirx.build(module, target=target).write_to_file(str(file))
        return file.read_bytes()
