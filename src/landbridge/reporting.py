"""Make the report of a compilation from the placed program and its plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from landbridge.ir.body import Binding, Body, extern_symbol, is_cast, is_constant, is_copy, is_extern, is_operator, operands, operator_name
from landbridge.ir.devices import device_of
from landbridge.ir.dtypes import bits_of
from landbridge.ir.program import DERIVED, EXTERNS, NAMES, OUTPUTS, Program, attribute, topology_of
from landbridge.ir.sizes import dtype_of, nbytes_of, shape_of
from landbridge.remedies import Remedies
from landbridge.runtime import gears
from landbridge.runtime.artifact import ExternRecord
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.device_memory import memory_of
from landbridge.runtime.dims import render
from landbridge.runtime.plan import Plan
from landbridge.runtime.report import Cast, Crossing, Report
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry


def make_report(program: Program, plan: Plan, externs: Sequence[ExternRecord] = ()) -> Report:
    """Return what the compiler did.

    Args:
        program: placed and verified.
        plan: what codegen made of it, for the memory.
        externs: the offline models of the plan, as an artifact has them.
    """
    memory = memory_of(plan, externs)
    facts = _Facts(program, Body.of(program.module))
    crossings = tuple(facts.crossing(binding) for binding in facts.body.bindings if is_copy(binding.value))
    return Report(
        copies=crossings,
        casts=tuple(facts.cast(binding) for binding in facts.body.bindings if is_cast(binding.value)),
        fallbacks=tuple(program.fallbacks.values()),
        minimum_copies=facts.minimum_copies(),
        peak_nbytes={device.device: device.total for device in memory},
        dims=plan.dims,
        launches=facts.launches(),
        memory=memory,
    )


@dataclass(frozen=True)
class _Facts:
    """What the report asks of a placed program, found once."""

    program: Program
    body: Body

    @cached_property
    def externs(self) -> dict[str, Any]:
        entries: dict[str, Any] = attribute(self.program.module, EXTERNS, {})
        return entries

    @cached_property
    def names(self) -> dict[str, str]:
        names: dict[str, str] = attribute(self.program.module, NAMES, {})
        return names

    @cached_property
    def producers(self) -> dict[Any, Binding]:
        return {binding.var: binding for binding in self.body.bindings}

    @cached_property
    def users(self) -> dict[Any, list[Binding]]:
        users: dict[Any, list[Binding]] = {}
        for binding in self.body.bindings:
            for operand in dict.fromkeys(operands(binding.value)):
                users.setdefault(operand, []).append(binding)
        return users

    @cached_property
    def remedies(self) -> Remedies:
        return Remedies(self.body, self.producers, self.users, self.externs, self.name, onnx=self.program.source is not None)

    @cached_property
    def host_memory(self) -> frozenset[str]:
        """The kinds of device that work in the host's memory."""
        return frozenset(v.device_kind for v in registry.vendors().values() if v.host_memory) - {CPU.kind}

    def name(self, value: Any) -> str:
        if is_constant(value):
            return "constant"
        base = str(value.name).split(DERIVED)[0]
        return self.names.get(base, base)

    def operator(self, binding: Binding) -> str:
        """What the user calls the operator of a binding: an offline model by its name, another by its result."""
        return str(self.externs[extern_symbol(binding.value)]["name"]) if is_extern(binding.value) else self.name(binding.var)

    def root(self, value: Any) -> Any:
        """The value that a chain of copies starts from."""
        while value in self.producers and is_copy(self.producers[value].value):
            value = operands(self.producers[value].value)[0]
        return value

    def is_turned(self, value: Any) -> bool:
        """Return whether the compiler inserted the permutation that makes ``value``."""
        made = self.producers[value].value if value in self.producers and DERIVED in str(value.name) else None
        return made is not None and is_operator(made) and operator_name(made) == "permute_dims"

    def producer(self, value: Any) -> str:
        if is_constant(value):
            return "constant"
        if self.is_turned(value):
            return self.producer(self.root(operands(self.producers[value].value)[0]))
        return self.operator(self.producers[value]) if value in self.producers else "input"

    def consumers(self, value: Any) -> list[tuple[str, Device]]:
        """Who needs ``value``, through further copies, and on which device."""
        found: list[tuple[str, Device]] = []
        for user in self.users.get(value, ()):
            found += self.consumers(user.var) if is_copy(user.value) else [(self.operator(user), _place(value))]
        wanted = attribute(self.program.module, OUTPUTS, [])
        pairs = zip(self.body.outputs, wanted, strict=True)
        return found + [(f"output '{name}'", _place(value)) for output, (name, _) in pairs if output.same_as(value)]

    def crossing(self, binding: Binding) -> Crossing:
        source_value = operands(binding.value)[0]
        root, source, destination = self.root(source_value), _place(source_value), _place(binding.var)
        consumers = list(dict.fromkeys(self.consumers(binding.var)))
        here = [name for name, device in consumers if device == destination]
        beyond = list(dict.fromkeys(str(device) for _, device in consumers if device != destination))
        reasons = [f"needed on {destination} by {', '.join(here)}"] if here else []
        reasons += [f"on its way to {', '.join(beyond)}: devices are bridged over the CPU"] if beyond else []
        reasons += ["its axes are permuted to NHWC on the CPU"] if self.is_turned(root) else []
        return Crossing(
            value=self.name(root),
            dtype=dtype_of(binding.var.ty),
            shape=shape_of(binding.var.ty) or (),
            nbytes=nbytes_of(binding.var.ty),
            source=str(source),
            destination=str(destination),
            producer=self.producer(root),
            consumer=", ".join(name for name, _ in consumers),
            reason="; ".join(reasons) or "asked for by the program",
            aliased=bool({source.kind, destination.kind} & self.host_memory),
            once=is_constant(root),
            remedy=self.remedies.crossing(binding),
        )

    def cast(self, binding: Binding) -> Cast:
        source_value = operands(binding.value)[0]
        root = self.root(source_value)
        before, after = nbytes_of(source_value.ty), nbytes_of(binding.var.ty)
        return Cast(
            value=self.name(root),
            nbytes=before if bits_of(dtype_of(source_value.ty)) <= bits_of(dtype_of(binding.var.ty)) else after,
            source=dtype_of(source_value.ty),
            destination=dtype_of(binding.var.ty),
            producer=self.producer(root),
            consumer=", ".join(dict.fromkeys(name for name, _ in self.consumers(binding.var))),
            reason=self.cast_reason(binding, root),
            remedy=self.remedies.cast(binding),
            shape=shape_of(binding.var.ty) or (),
            direction=self.cast_direction(binding, root),
        )

    def cast_direction(self, binding: Binding, root: Any) -> str:
        """For the sake of which device a conversion is there; "cpu" where the program itself converts."""
        if DERIVED in str(binding.var.name):
            return _towards("into", (device for _, device in self.consumers(binding.var)))
        return _towards("out of", [_place(root)]) if self.keeps_name(binding, root) else str(CPU)

    def keeps_name(self, binding: Binding, root: Any) -> bool:
        """Whether a conversion gives back the type that the program has for what an offline model makes."""
        return not is_constant(root) and str(root.name).split(DERIVED)[0] == str(binding.var.name)

    def cast_reason(self, binding: Binding, root: Any) -> str:
        """Why a conversion is there, and which copy is the cheaper for it."""
        before, after = render(nbytes_of(root.ty)), render(nbytes_of(binding.var.ty))
        if DERIVED in str(binding.var.name):
            narrowed = any(is_copy(user.value) for user in self.users.get(binding.var, ()))
            saved = f" before the copy, so that {after} bytes cross and not {before}" if narrowed else ""
            readers = ", ".join(dict.fromkeys(name for name, _ in self.consumers(binding.var)))
            return f"{readers} expects {dtype_of(binding.var.ty)}; converted on the CPU{saved}"
        if self.keeps_name(binding, root):
            copied = not root.same_as(operands(binding.value)[0])
            saved = f" after the copy, so that {before} bytes cross and not {after}" if copied else ""
            change = f"{self.producer(root)} gives {dtype_of(root.ty)}, the model goes on with {dtype_of(binding.var.ty)}"
            return f"{change}; converted on the CPU{saved}"
        return "the model converts here; conversions run on the CPU"

    def minimum_copies(self) -> int:
        """Count the links that values must cross, from where each is made and where it is read, without looking at the copies.

        A value crosses each link on the ways from its home to its readers once; on a tree of links no plan does with less.
        """
        topology = topology_of(self.program.module)
        links: set[tuple[Any, Device, Device]] = set()
        reads = [operand for b in self.body.bindings if not is_copy(b.value) for operand in operands(b.value)]
        for value in (*reads, *self.body.outputs):
            home = self.root(value)
            route = topology.route(_place(home), _place(value))
            links.update((home, a, b) for a, b in pairwise(route))
        return len(links)

    def launches(self) -> dict[str, str]:
        """How each call of an offline model with batch gears is split."""
        found = {}
        for binding in self.body.bindings:
            if not is_extern(binding.value):
                continue
            entry = self.externs[extern_symbol(binding.value)]
            signature = Signature.from_json(entry["signature"])
            if signature.gears is None or not signature.gears.batches:
                continue
            batch = (shape_of(operands(binding.value)[0].ty) or ("?",))[0]
            batches = signature.gears.batches
            spread = gears.spread_of(entry.get("options", {}))
            over = f"{render(batch)} over gears {', '.join(map(str, batches))}"
            padding = "" if spread == "exact" else f" ({spread})"
            planned = gears.plan_gears(batch, batches, spread).text if isinstance(batch, int) else over + padding
            found[str(entry["name"])] = planned
        return found


def _place(value: Any) -> Device:
    return device_of(value) or CPU


def _towards(way: str, devices: Iterable[Device]) -> str:
    named = [str(device) for device in dict.fromkeys(devices) if device != CPU]
    return f"{way} {', '.join(named)}" if named else str(CPU)
