"""What the host library is compiled for.

The default is this machine. What is recorded in the artifact is what the kernels may really use, so that a machine that
lacks it refuses the artifact instead of dying in the middle of a run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from typing import Any

import tvm
from tvm.target import codegen as llvm

from landbridge.runtime.artifact import Target
from landbridge.runtime.errors import UnsupportedError, UsageError

_HINT = 'such as "llvm -mcpu=x86-64-v3" or "llvm -mtriple=aarch64-linux-gnu -mattr=+neon"'

_KNOWN_OPTIONS = ("mcpu", "mtriple", "mattr", "mfloat-abi", "opt-level", "num-cores")

_X86_FEATURES = {
    **{
        name: name
        for name in ("ssse3", "popcnt", "avx", "avx2", "fma", "f16c", "bmi2", "movbe", "adx", "aes", "gfni", "vaes", "vpclmulqdq")
    },
    **{name: name for name in ("sse4a", "xop", "fma4", "tbm", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx512ifma")},
    "avx512vbmi": "avx512vbmi",
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "pclmul": "pclmulqdq",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "avxvnniint8": "avx_vnni_int8",
    "avxneconvert": "avx_ne_convert",
    "avxifma": "avx_ifma",
}
"""LLVM's names of the features that generated code can use by itself, and the names in /proc/cpuinfo."""

_ARM_FEATURES = {
    "fp-armv8": "fp",
    "neon": "asimd",
    "lse": "atomics",
    "crc": "crc32",
    "rdm": "asimdrdm",
    "fullfp16": "asimdhp",
    "dotprod": "asimddp",
    "fp16fml": "asimdfhm",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "complxnum": "fcma",
    "jsconv": "jscvt",
}
"""The same for aarch64."""

_FEATURES = {"x86_64": _X86_FEATURES, "aarch64": _ARM_FEATURES}


@dataclass(frozen=True)
class HostTarget:
    """What to compile kernels for, and how to link them.

    Attributes:
        tvm: the TVM target.
        record: what goes into the artifact.
        compiler: the C compiler's command.
    """

    tvm: Any
    record: Target
    compiler: tuple[str, ...]


def resolve_target(text: str | None = None) -> HostTarget:
    """Return the target that ``text`` names; this machine where None.

    Args:
        text: "llvm" with options, or a JSON object as TVM takes it.

    Raises:
        UsageError: unknown kind, option, processor, feature or triple.
        UnsupportedError: there is no C compiler for it.
    """
    options: dict[str, Any] = _parse(text.strip()) if text and text.strip() else {"kind": "llvm"}
    if options.get("kind") != "llvm":
        raise UsageError(f"target kind '{options.get('kind')}', expected llvm", at="target", hint=_HINT, code="LB1106")
    native = _native_triple()
    triple = str(options.setdefault("mtriple", native))
    architecture = triple.split("-", maxsplit=1)[0]
    if architecture not in {str(name) for name in llvm.llvm_get_targets()}:
        raise UsageError(f"unknown architecture '{architecture}' in the triple '{triple}'", at="target", hint=_HINT, code="LB1106")
    is_native = architecture == native.split("-", maxsplit=1)[0]
    if "mcpu" not in options and is_native:
        options["mcpu"], options["mattr"] = _this_machine(triple, options.get("mattr", []))
    if "mcpu" in options and not llvm.llvm_is_valid_cpu(options["mcpu"], triple):
        raise UsageError(f"unknown processor '{options['mcpu']}' for {triple}", at="target", hint=_HINT, code="LB1106")
    try:
        target = tvm.target.Target(options)
    except (ValueError, TypeError, tvm.error.InternalError) as error:
        raise UsageError(f"not a target: {str(error).splitlines()[0]}", at="target", hint=_HINT, code="LB1106") from error
    ignored = [name for name in options.get("mattr", []) if name.startswith("+") and name[1:] not in _llvm_features(target)]
    if ignored:
        raise UsageError(f"unknown feature '{ignored[0]}' for {triple}", at="target", hint=_HINT, code="LB1106")
    record = Target(triple, str(options.get("mcpu", "")), _used_features(architecture, target))
    return HostTarget(target, record, _compiler(triple, is_native))


def _parse(text: str) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise UsageError(f"a target that is not JSON: {error}", at="target", hint=_HINT, code="LB1106") from error
    kind, *words = shlex.split(text)
    options: dict[str, Any] = {"kind": kind}
    for word in words:
        match = re.fullmatch(r"--?([a-z-]+)=(.+)", word)
        if match is None or match[1] not in _KNOWN_OPTIONS:
            known = ", ".join(f"-{name}=" for name in _KNOWN_OPTIONS)
            raise UsageError(f"unknown target option '{word}', expected one of {known}", at="target", hint=_HINT, code="LB1106")
        options[match[1]] = match[2].split(",") if match[1] == "mattr" else int(match[2]) if match[2].isdigit() else match[2]
    return options


def _native_triple() -> str:
    """Return this machine's triple without the vendor that TVM was built by."""
    architecture, *_ = str(llvm.llvm_get_system_triple()).split("-")
    return f"{architecture}-linux-gnu"


def _this_machine(triple: str, features: list[str]) -> tuple[str, list[str]]:
    """Return this processor as LLVM names it, and what it (a virtual machine, say) lacks of what that name promises."""
    name = str(llvm.llvm_get_system_cpu())
    present = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    available = {str(feature) for feature, has in present.items() if bool(has)}
    promised = _llvm_features(tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": name}))
    relevant = _FEATURES.get(triple.split("-", maxsplit=1)[0], {})
    missing = [f"-{feature}" for feature in sorted(promised) if feature in relevant and feature not in available]
    return name, [*missing, *features]


def _llvm_features(target: Any) -> set[str]:
    return {str(feature) for feature in llvm.llvm_get_cpu_features(target)}


def _used_features(architecture: str, target: Any) -> tuple[str, ...]:
    names = _FEATURES.get(architecture, {})
    return tuple(sorted(names[feature] for feature in _llvm_features(target) if feature in names))


def _compiler(triple: str, is_native: bool) -> tuple[str, ...]:
    own = shlex.split(os.environ.get("CC", ""))
    candidates = [own, ["cc"], ["gcc"], ["clang"]] if is_native else [[f"{triple}-gcc"]]
    found = next((command for command in candidates if command and shutil.which(command[0])), None)
    if found is None:
        wanted = "a C compiler (cc, gcc or clang)" if is_native else f"{triple}-gcc"
        package = "gcc" if is_native else f"gcc-{triple}"
        raise UnsupportedError(
            f"{wanted} is not installed; it links the host library", at="target", hint=f"apt install {package}", code="LB2307"
        )
    return tuple(found)
