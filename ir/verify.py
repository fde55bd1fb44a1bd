"""Prove that a program obeys the rules of the domain (R1-R4, R6), or list everything that is wrong with it.

The verifier reasons from the types of the variables alone; Relax's inference carries devices along but is no placement checker.
It never repairs and never changes anything. Which rules hold in which phase of compilation is data: `PHASES`.

R5, that no crossing is superfluous, is a matter of cost and not checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body, extern_symbol, is_cast, is_copy, is_extern, is_operator, operands, operator_name
from landbridge.ir.devices import device_of, from_vdevice, same_vdevice, tensor_types
from landbridge.ir.fixes import copy_fix
from landbridge.ir.location import place, place_of, value_name
from landbridge.ir.program import EXTERNS, OUTPUTS, ExternEntry, ModuleInfo, Program
from landbridge.ir.signatures import call_mismatches
from landbridge.ir.sizes import dims_in
from landbridge.ir.welltyped import contradictions
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PlacementError, UsageError, VerifyError
from landbridge.runtime.vendors import registry


@dataclass(frozen=True)
class Diagnostic:
    """One violation.

    Attributes:
        rule: "R1" … "R6"; "form" where the program is not of the form that the rules are about.
        where: the user's model and the user's name of the value or call.
        message: what was found and what the rule wants.
        fix: the line to add or the thing to do, or "".
    """

    rule: str
    where: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.rule} {self.where}: {self.message}"
        return f"{text} (fix: {self.fix})" if self.fix else text


class Facts:
    """What the rules look at, read once."""

    def __init__(self, module: tvm.IRModule) -> None:
        """Read ``module``."""
        self.module = module
        self.info = ModuleInfo.of(module)
        self.body = Body.of(module)
        self.vdevices = tuple(module.global_infos.get("vdevice", ()))
        self.variables = (*self.body.params, *(binding.var for binding in self.body.bindings))
        self.kinds = registry.kinds() if self.info.externs else {}

    def home(self, value: Any) -> Device:
        """Where a value lives; a constant, and a value whose type does not say, on the CPU."""
        return device_of(value) or CPU

    def entry(self, binding: Binding) -> ExternEntry | None:
        """The offline model that a binding calls, or None where the module does not list it."""
        return self.info.externs.get(extern_symbol(binding.value))

    def where(self, binding: Binding) -> str:
        """Where messages about a binding point."""
        return place_of(self.info, binding.var)

    def way(self, value: Any, device: Device) -> str:
        """The lines that bring ``value`` to ``device``."""
        home = self.home(value)
        try:
            route = self.info.topology.route(home, device)
        except PlacementError as error:
            return f"{error.message}; {error.hint}"
        return copy_fix(value_name(self.info, value), route)


Rule = Callable[[Facts], Iterator[Diagnostic]]


def defined_once_before_use(facts: Facts) -> Iterator[Diagnostic]:
    """Every variable has one definition, before its uses."""
    defined: set[Any] = set(facts.body.params)
    for binding in facts.body.bindings:
        for operand in operands(binding.value):
            if isinstance(operand, relax.Var) and operand not in defined:
                yield Diagnostic("form", facts.where(binding), f"uses '{value_name(facts.info, operand)}', which is not defined before it")
        if binding.var in defined:
            yield Diagnostic("form", facts.where(binding), "is defined twice")
        defined.add(binding.var)
    for output in facts.body.outputs:
        if isinstance(output, relax.Var) and output not in defined:
            yield Diagnostic("form", place_of(facts.info, output), "is an output and not defined")


def names_are_unique(facts: Facts) -> Iterator[Diagnostic]:
    """Variables have names of their own that are identifiers; a named dimension is one dimension."""
    names: set[str] = set()
    for variable in facts.variables:
        name = str(variable.name)
        if name in names:
            yield Diagnostic("form", place_of(facts.info, variable), f"two variables are called {name}")
        if not name.isidentifier() or iskeyword(name):
            yield Diagnostic("form", place_of(facts.info, variable), f"'{name}' is not an identifier")
        names.add(name)
    dims: dict[str, Any] = {}
    for variable in facts.variables:
        for name, dim in dims_in(tensor_types(variable.ty)).items():
            if not dims.setdefault(name, dim).same_as(dim):
                yield Diagnostic("form", place_of(facts.info, variable), f"two dimensions are called {name}")


def outputs_are_listed(facts: Facts) -> Iterator[Diagnostic]:
    """The module names each output, and outputs are tensors."""
    outputs, wishes = facts.body.outputs, facts.info.outputs
    if len(outputs) != len(wishes):
        message = f"the program has {len(outputs)} outputs, its attribute {OUTPUTS} lists {len(wishes)}"
        yield Diagnostic("form", place(facts.info, "outputs"), message)
    for output in outputs:
        if not isinstance(output.ty, relax.TensorType):
            yield Diagnostic("form", place_of(facts.info, output), "is an output and not a tensor", "return its parts")


def types_are_consistent(facts: Facts) -> Iterator[Diagnostic]:
    """No variable's element type or shape contradicts what its operator makes of its operands."""
    for binding in facts.body.bindings:
        for contradiction in contradictions(binding):
            yield Diagnostic("form", facts.where(binding), contradiction)


def offline_models_are_known(facts: Facts) -> Iterator[Diagnostic]:
    """Every call is of an offline model that the module lists, on a device of its vendor's kind (R2)."""
    for entry in facts.info.externs.values():
        kind = facts.kinds.get(entry.vendor)
        where = place(facts.info, entry.name)
        if kind is None:
            yield Diagnostic("R2", where, f"unknown vendor '{entry.vendor}'", f"vendors here: {', '.join(facts.kinds)}")
        elif kind != entry.device.kind:
            message = f"a blob of {entry.vendor} runs on {kind} devices, not on {entry.device}"
            yield Diagnostic("R2", where, message, f"name one of its own, such as {kind}0")
    for binding in facts.body.bindings:
        if is_extern(binding.value) and facts.entry(binding) is None:
            message = f"calls '{extern_symbol(binding.value)}', which the module's attribute {EXTERNS} does not list"
            yield Diagnostic("R6", facts.where(binding), message)


def devices_are_listed(facts: Facts) -> Iterator[Diagnostic]:
    """Every device in a type is one of the module's own device objects, of which there is one for each device (R1)."""
    devices = [from_vdevice(vdevice) for vdevice in facts.vdevices]
    for device in dict.fromkeys(device for device in devices if devices.count(device) > 1):
        yield Diagnostic("R1", place(facts.info, str(device)), "the module lists this device twice")
    for variable in facts.variables:
        for vdevice in [t.vdevice for t in tensor_types(variable.ty) if t.vdevice is not None]:
            if not any(same_vdevice(vdevice, listed) for listed in facts.vdevices):
                message = f"lives on {from_vdevice(vdevice)}, which is not among the module's devices"
                yield Diagnostic("R1", place_of(facts.info, variable), message)


def everything_has_a_device(facts: Facts) -> Iterator[Diagnostic]:
    """Every tensor variable lives on exactly one device (R1); a constant is the program's and has none."""
    for variable in facts.variables:
        types = tensor_types(variable.ty)
        if any(t.vdevice is None for t in types) or not types:
            yield Diagnostic("R1", place_of(facts.info, variable), "has no device", "infer devices first")
        elif len({device_of(t) for t in types}) > 1:
            devices = ", ".join(str(device) for device in dict.fromkeys(device_of(t) for t in types))
            yield Diagnostic("R1", place_of(facts.info, variable), f"is on several devices: {devices}")


def operators_run_on_the_cpu(facts: Facts) -> Iterator[Diagnostic]:
    """Operands and results of ordinary operators live on the CPU (R2)."""
    for binding in facts.body.bindings:
        if not is_operator(binding.value):
            continue
        for operand in dict.fromkeys(operands(binding.value)):
            home = facts.home(operand)
            if not home.is_cpu:
                name, kind = value_name(facts.info, operand), operator_name(binding.value)
                message = f"{kind} runs on the CPU, its operand '{name}' is on {home}"
                yield Diagnostic("R2", facts.where(binding), message, facts.way(operand, CPU))
        if not facts.home(binding.var).is_cpu:
            message = f"{operator_name(binding.value)} runs on the CPU, its result is declared to be on {facts.home(binding.var)}"
            yield Diagnostic("R2", facts.where(binding), message)


def offline_models_run_on_their_device(facts: Facts) -> Iterator[Diagnostic]:
    """Operands and results of an offline model live on the device it runs on (R2)."""
    for binding in facts.body.bindings:
        entry = facts.entry(binding) if is_extern(binding.value) else None
        if entry is None:
            continue
        for operand in dict.fromkeys(operands(binding.value)):
            home = facts.home(operand)
            if home != entry.device:
                message = f"{entry.name} runs on {entry.device}, its operand '{value_name(facts.info, operand)}' is on {home}"
                yield Diagnostic("R2", facts.where(binding), message, facts.way(operand, entry.device))
        if facts.home(binding.var) != entry.device:
            message = f"{entry.name} runs on {entry.device}, its result is declared to be on {facts.home(binding.var)}"
            yield Diagnostic("R2", facts.where(binding), message)


def outputs_are_where_they_are_wanted(facts: Facts) -> Iterator[Diagnostic]:
    """Each output lives on the device that the program wants it on, if it wants one (R2)."""
    for output, wish in zip(facts.body.outputs, facts.info.outputs, strict=False):
        if wish.device is not None and facts.home(output) != wish.device:
            message = f"this output is wanted on {wish.device}, '{value_name(facts.info, output)}' is on {facts.home(output)}"
            yield Diagnostic("R2", place(facts.info, wish.name), message, facts.way(output, wish.device))


def copies_cross_a_link(facts: Facts) -> Iterator[Diagnostic]:
    """A copy joins two linked devices and ends where it says (R3)."""
    for binding in facts.body.bindings:
        if not is_copy(binding.value):
            continue
        source = operands(binding.value)[0]
        start, end = facts.home(source), facts.home(binding.var)
        name, stated = value_name(facts.info, source), from_vdevice(binding.value.attrs.dst_vdevice)
        if stated != end:
            yield Diagnostic("R3", facts.where(binding), f"a copy of '{name}' to {stated}, its result is declared to be on {end}")
        if start == end:
            yield Diagnostic("R3", facts.where(binding), f"a copy of '{name}' from {start} to {start}", "leave it out")
        elif not facts.info.topology.linked(start, end):
            message = f"no link from {start} to {end}, over which '{name}' is copied"
            yield Diagnostic("R3", facts.where(binding), message, facts.way(source, end))


def casts_run_on_the_cpu(facts: Facts) -> Iterator[Diagnostic]:
    """Element types are converted on the CPU (R4)."""
    for binding in facts.body.bindings:
        if not is_cast(binding.value):
            continue
        source = operands(binding.value)[0]
        devices = dict.fromkeys((facts.home(source), facts.home(binding.var)))
        if any(not device.is_cpu for device in devices):
            name, on = value_name(facts.info, source), " and ".join(map(str, devices))
            message = f"'{name}' is converted to {binding.value.attrs.dtype} on {on}, conversions run on the CPU"
            yield Diagnostic("R4", facts.where(binding), message, facts.way(source, CPU) if not facts.home(source).is_cpu else "")


def calls_match_signatures(facts: Facts) -> Iterator[Diagnostic]:
    """Arguments and results of an offline model are what its signature says (R6)."""
    for binding in facts.body.bindings:
        if is_extern(binding.value) and facts.entry(binding) is not None:
            for mismatch in call_mismatches(facts.info, binding, {}):
                yield Diagnostic("R6", mismatch.at, mismatch.message, mismatch.fix)


def names_for_a_value_keep_its_place(facts: Facts) -> Iterator[Diagnostic]:
    """A part of a tuple, a tuple of parts or a second name of a value lives where the value lives (R2)."""
    for binding in facts.body.bindings:
        if isinstance(binding.value, relax.Call):
            continue
        homes = list(dict.fromkeys(facts.home(operand) for operand in operands(binding.value)))
        if homes and homes != [facts.home(binding.var)]:
            message = f"is declared to be on {facts.home(binding.var)}, what it stands for is on {', '.join(map(str, homes))}"
            yield Diagnostic("R2", facts.where(binding), message)


FORM: tuple[Rule, ...] = (defined_once_before_use, names_are_unique, outputs_are_listed, devices_are_listed, offline_models_are_known)
DEVICES: tuple[Rule, ...] = (*FORM, everything_has_a_device)

PHASES: Mapping[str, tuple[Rule, ...]] = {
    "imported": FORM,
    "devices": DEVICES,
    "placed": (
        *DEVICES,
        types_are_consistent,
        operators_run_on_the_cpu,
        offline_models_run_on_their_device,
        names_for_a_value_keep_its_place,
        outputs_are_where_they_are_wanted,
        copies_cross_a_link,
        casts_run_on_the_cpu,
        calls_match_signatures,
    ),
}
"""The rules that hold at the end of each phase of compilation.

*imported*: what front ends deliver; *devices*: every value has a device; *placed*: everything is where the rules want it.
"""


def diagnose(program: Program | tvm.IRModule, phase: str = "placed") -> tuple[Diagnostic, ...]:
    """Return everything in a program that breaks the rules of ``phase``, in the order of `PHASES` and of the program.

    Raises:
        UsageError: no such phase.
        PassError: the program is not a straight list of bindings.
    """
    if phase not in PHASES:
        raise UsageError(f"unknown phase '{phase}'", hint=f"phases: {', '.join(PHASES)}")
    facts = Facts(program.module if isinstance(program, Program) else program)
    found = [diagnostic for rule in PHASES[phase] for diagnostic in rule(facts)]
    if isinstance(program, Program):
        found += _table_differences(program, facts)
    return tuple(found)


def verify(program: Program | tvm.IRModule, phase: str = "placed") -> None:
    """Prove that a program obeys the rules of ``phase``.

    Raises:
        VerifyError: it does not; the message lists every violation.
        UsageError: no such phase.
        PassError: the program is not a straight list of bindings.

    Example:
        >>> lb.verify(compiled.program)
    """
    lines = tuple(str(diagnostic) for diagnostic in diagnose(program, phase))
    if lines:
        count = "one violation" if len(lines) == 1 else f"{len(lines)} violations"
        raise VerifyError(f"{count} of the rules of a program in phase '{phase}':\n  " + "\n  ".join(lines), diagnostics=lines)


def _table_differences(program: Program, facts: Facts) -> Iterator[Diagnostic]:
    """The program's table of offline models has those that its module lists, with the same blobs (R6)."""
    for symbol, entry in facts.info.externs.items():
        model = program.externs.get(symbol)
        if model is None:
            yield Diagnostic("R6", place(facts.info, entry.name), "the program has no blob for this offline model")
        elif model.digest != entry.digest or [m.digest for m in model.alternatives] != [e.digest for e in entry.alternatives]:
            yield Diagnostic("R6", place(facts.info, entry.name), "the program's blob is not the one that the module lists")
