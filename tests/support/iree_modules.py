"""IREE modules for tests, compiled by the installed compiler."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest


def require_iree() -> Any:
    """Return IREE's compiler; skips the test where it or the runtime is absent."""
    reason = "needs the packages iree-base-runtime and iree-base-compiler: pip install landbridge[iree] iree-base-compiler"
    pytest.importorskip("iree.runtime", reason=reason)
    return pytest.importorskip("iree.compiler", reason=reason)


@lru_cache(maxsize=32)
def vmfb(functions: str, *, target: str = "llvm-cpu", zipped: bool = True) -> bytes:
    """Return the module ``net`` with these functions, in MLIR with stablehlo's operators."""
    compiler = require_iree()
    arguments = ["--iree-llvmcpu-target-cpu=generic"] if target == "llvm-cpu" else []
    arguments += [] if zipped else ["--iree-vm-emit-polyglot-zip=false"]
    source = f"module @net {{ {functions} }}"
    compiled: bytes = compiler.compile_str(source, target_backends=[target], input_type="stablehlo", extra_args=arguments)
    return compiled


def add(name: str = "main", shape: str = "?x8", dtype: str = "f32") -> str:
    """Return a function that adds its two arguments."""
    tensor = f"tensor<{shape}x{dtype}>"
    return (
        f"func.func @{name}(%left: {tensor}, %right: {tensor}) -> {tensor} {{ "
        f"%sum = stablehlo.add %left, %right : {tensor} return %sum : {tensor} }}"
    )


def identity(dtype: str, name: str = "main", shape: str = "6") -> str:
    """Return a function that gives back what it takes."""
    tensor = f"tensor<{shape}x{dtype}>"
    return f"func.func @{name}(%x: {tensor}) -> {tensor} {{ return %x : {tensor} }}"
