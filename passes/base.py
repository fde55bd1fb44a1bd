"""What a pass is, and the runner of pipelines.

A pass is a frozen dataclass: its fields are its options, `run` is a function from module to module. The runner verifies what each
pass returns in the phase that the pass promises, tells observers, and on a failure writes a reproducer. It knows no pass by name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from tvm import IRModule

from landbridge.ir.verify import verify
from landbridge.passes.reproducer import write_reproducer
from landbridge.runtime.errors import PassError, UsageError, UserError


class Pass(Protocol):
    """A function from module to module, with a name and options.

    Attributes:
        name: its name on the command line and in messages, with dashes.
        phase: the phase of `landbridge.ir.verify` whose rules its result obeys.
    """

    name: ClassVar[str]
    phase: ClassVar[str]

    def run(self, module: IRModule) -> IRModule:
        """Return the rewritten module, or ``module`` itself when nothing changed."""
        ...


@dataclass(frozen=True)
class Declined:
    """A rewrite that was possible in form and was not done.

    Attributes:
        reason: why not.
        at: the user's name of the value it is about.
    """

    reason: str
    at: str


@runtime_checkable
class Declines(Protocol):
    """A pass that can say why it left something as it is."""

    def declined(self, module: IRModule) -> tuple[Declined, ...]:
        """Return what `run` would decline in ``module``, in program order."""
        ...


@dataclass(frozen=True)
class PassEvent:
    """One pass, run.

    Attributes:
        index: its place in the pipeline, from 1.
        step: the pass.
        before: what it was given.
        after: what it returned; ``before`` itself when nothing changed.
        elapsed_ns: how long it took, without the verification.
    """

    index: int
    step: Pass
    before: IRModule
    after: IRModule
    elapsed_ns: int

    @property
    def changed(self) -> bool:
        """Whether the pass changed anything."""
        return self.after is not self.before

    @property
    def declined(self) -> tuple[Declined, ...]:
        """What the pass declined to do, with the reasons; computed when asked for."""
        return self.step.declined(self.before) if isinstance(self.step, Declines) else ()


class Observer(Protocol):
    """Somebody who watches a pipeline run."""

    def after_pass(self, event: PassEvent) -> bool:
        """Look at what a pass did; return whether the pipeline is to stop here."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """Passes in order, run one after the other.

    Attributes:
        passes: the steps.
        reproducers: the folder for reproducers; None is a new one in the system's folder for temporary files.
    """

    passes: tuple[Pass, ...]
    reproducers: Path | None = None

    def run(self, module: IRModule, observers: Sequence[Observer] = ()) -> IRModule:
        """Return what the passes make of ``module``.

        Raises:
            UserError: as a pass raises it: the user's program is wrong.
            PassError: a pass failed in any other way, or its result does not verify; the message names the pass, those
                before it, and the reproducer.
        """
        proven: set[str] = set()  # the phases in which the module at hand has been verified
        for index, step in enumerate(self.passes, 1):
            started = time.perf_counter_ns()
            try:
                after = step.run(module)
                elapsed = time.perf_counter_ns() - started
                proven = proven if after is module else set()
                if step.phase not in proven:
                    verify(after, step.phase)
                proven.add(step.phase)
            except (UserError, MemoryError, OSError):
                raise
            except Exception as error:  # a driver catches all: whatever it is, the reproducer is what helps
                raise self._failure(module, index - 1, error) from error
            event = PassEvent(index, step, module, after, elapsed)
            module = after
            stops = [observer.after_pass(event) for observer in observers]  # each of them sees it
            if any(stops):
                break
        return module

    def __str__(self) -> str:
        return ",".join(print_pass(step) for step in self.passes)

    def _failure(self, module: IRModule, position: int, error: Exception) -> PassError:
        step, before = self.passes[position], [done.name for done in self.passes[:position]]
        path = write_reproducer(module, str(Pipeline(self.passes[position:])), error, self.reproducers)
        ran = f"after {', '.join(before)}" if before else "the first of the pipeline"
        return PassError(
            f"pass {step.name} failed ({ran}): {type(error).__name__}: {error}",
            hint=f"this is a bug of Landbridge, please report it with {path}; landbridge reproduce {path} runs it again",
            code="LB9101",
        )


def print_pass(step: Pass) -> str:
    """Return the text of a pass: its name, and the options that differ from their defaults in braces.

    Example:
        >>> from landbridge.passes.hoist_casts import HoistCasts
        >>> print_pass(HoistCasts(max_depth=4))
        'hoist-casts{max-depth=4}'
    """
    kind: type[Any] = type(step)
    options: list[str] = []
    for option in fields(kind):
        value = getattr(step, option.name)
        if value != option.default:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            options.append(f"{option.name.replace('_', '-')}={text}")
    return f"{step.name}{{{' '.join(options)}}}" if options else step.name


def parse_passes(text: str, known: Sequence[type[Any]]) -> tuple[Pass, ...]:
    """Return the passes that ``text`` names: what `print_pass` prints, separated by commas.

    Args:
        known: the classes of passes to choose from.

    Raises:
        UsageError: an unknown pass or option, or a value that is not of the option's type.
    """
    by_name = {kind.name: kind for kind in known}
    return tuple(_parse_pass(item.strip(), by_name) for item in text.split(",") if item.strip())


def _parse_pass(text: str, by_name: dict[str, type[Any]]) -> Pass:
    name, brace, rest = text.partition("{")
    if name not in by_name:
        raise UsageError(f"unknown pass '{name}'", hint=f"passes: {', '.join(by_name)}", code="LB1104")
    if brace and not rest.endswith("}"):
        raise UsageError(f"pass '{text}' has no closing brace", hint="write options as in hoist-casts{max-depth=4}", code="LB1104")
    kind = by_name[name]
    options = {option.name.replace("_", "-"): option for option in fields(kind)}
    chosen: dict[str, Any] = {}
    for word in rest.removesuffix("}").split():
        key, _, value = word.partition("=")
        if key not in options:
            raise UsageError(f"pass {name} has no option '{key}'", hint=f"its options: {', '.join(options) or 'none'}", code="LB1104")
        chosen[options[key].name] = _parse_value(value, type(options[key].default), f"{name}{{{key}}}")
    step: Pass = kind(**chosen)
    return step


def _parse_value(text: str, kind: type[Any], at: str) -> Any:
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and text.lstrip("-").isdecimal():
        return int(text)
    if kind is str:
        return text
    raise UsageError(f"'{text}' is not {'true or false' if kind is bool else 'a whole number'}", at=at, code="LB1104")
