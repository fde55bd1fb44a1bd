"""The artifact: one file that holds everything a session needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from landbridge.runtime.plan import Plan
from landbridge.runtime.report import Report
from landbridge.runtime.signature import Signature

HOST_LIBRARY = "code/host.so"
"""The section with the host library."""


@dataclass(frozen=True)
class Target:
    """What the host library was compiled for.

    Attributes:
        triple: such as "x86_64-linux-gnu"; empty where the artifact has no host library.
        cpu: the LLVM name of the processor the kernels were compiled for, such as "x86-64-v3".
        cpu_features: what of it the kernels use, by the names in /proc/cpuinfo, such as ("avx2", "fma").
    """

    triple: str = ""
    cpu: str = ""
    cpu_features: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternRecord:
    """An offline model in an artifact.

    Attributes:
        symbol: what `landbridge.runtime.plan.Extern.model` refers to.
        vendor: the vendor's name.
        device: where it runs, such as "atlas0".
        section: the section with the blob; two records may share one.
        signature: what it expects and gives.
        options: vendor-specific.
        name: what the user calls it, such as the name of its file.
    """

    symbol: str
    vendor: str
    device: str
    section: str
    signature: Signature
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Artifact:
    """The contents of an artifact.

    Attributes:
        name: the model's name, such as "detector.onnx".
        producer: what made it, such as {"landbridge": "0.1.0", "apache-tvm": "0.27.0.post1"}.
        target: what the host library needs of the machine.
        plan: what a session executes.
        externs: the offline models.
        report: what the compiler did.
        sections: bytes by name: the host library, the constants, the blobs. In the order of the file.
    """

    name: str
    producer: Mapping[str, str]
    target: Target
    plan: Plan
    externs: tuple[ExternRecord, ...]
    report: Report
    sections: Mapping[str, bytes]
