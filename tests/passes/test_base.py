"""Options in text, the runner, and what it does when a pass fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import tvm

from landbridge.ir.body import Body
from landbridge.ir.devices import VDevices
from landbridge.passes.base import PassEvent, Pipeline, parse_passes, print_pass
from landbridge.passes.drop_idle_copies import DropIdleCopies
from landbridge.passes.elide_copies import ElideCopies
from landbridge.passes.hoist_casts import HoistCasts
from landbridge.passes.insert_copies import InsertCopies
from landbridge.passes.observers import CountChanges
from landbridge.runtime.errors import PassError, PlacementError, UsageError
from support.small_programs import SmallProgram


@dataclass(frozen=True)
class WithOptions:
    """A pass with an option of each kind."""

    name: ClassVar[str] = "with-options"
    phase: ClassVar[str] = "imported"
    most_steps: int = 3
    is_bold: bool = False
    label: str = "x"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        return module


@dataclass(frozen=True)
class Fails:
    """A pass with a bug."""

    name: ClassVar[str] = "fails"
    phase: ClassVar[str] = "imported"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        raise KeyError("x")


@dataclass(frozen=True)
class ForgetsCopies:
    """A pass whose result is not legal."""

    name: ClassVar[str] = "forgets-copies"
    phase: ClassVar[str] = "placed"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        body = Body.of(module)
        return Body(body.params, body.bindings, body.params).write(module, VDevices(module))


KNOWN = (HoistCasts, ElideCopies, WithOptions)


def legal() -> SmallProgram:
    program = SmallProgram(placed=True)
    program.output(program.copy("y", program.input("x"), "atlas0"), device="atlas0")
    return program


def test_options_are_printed_where_they_are_not_the_defaults() -> None:
    assert print_pass(HoistCasts()) == "hoist-casts"
    assert print_pass(HoistCasts(max_depth=4)) == "hoist-casts{max-depth=4}"
    assert print_pass(WithOptions(4, True, "a")) == "with-options{most-steps=4 is-bold=true label=a}"


@pytest.mark.parametrize("steps", [(HoistCasts(4), ElideCopies()), (WithOptions(-1, True, "a"), HoistCasts(), WithOptions()), ()])
def test_what_is_printed_is_parsed_to_the_same_passes(steps: tuple[HoistCasts, ...]) -> None:
    assert parse_passes(str(Pipeline(steps)), KNOWN) == steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hoist-cast", "unknown pass 'hoist-cast'\n  hint: passes: hoist-casts, elide-copies, with-options"),
        ("hoist-casts{depth=1}", "pass hoist-casts has no option 'depth'\n  hint: its options: max-depth"),
        ("elide-copies{a=1}", "pass elide-copies has no option 'a'\n  hint: its options: none"),
        ("hoist-casts{max-depth=much}", "hoist-casts{max-depth}: 'much' is not a whole number"),
        ("with-options{is-bold=yes}", "with-options{is-bold}: 'yes' is not true or false"),
        (
            "hoist-casts{max-depth=1",
            "pass 'hoist-casts{max-depth=1' has no closing brace\n  hint: write options as in hoist-casts{max-depth=4}",
        ),
    ],
)
def test_a_text_that_is_no_pipeline_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_passes(text, KNOWN)
    assert str(caught.value) == message


def test_passes_run_in_order_until_an_observer_stops_them() -> None:
    seen: list[tuple[int, str, bool]] = []

    class Watcher:
        def after_pass(self, event: PassEvent) -> bool:
            seen.append((event.index, event.step.name, event.changed))
            return event.step.name == "drop-idle-copies"

    program = SmallProgram(placed=True)
    program.output(program.copy("y", program.input("x"), "cpu"))
    counts = CountChanges()
    module = program.module()
    after = Pipeline((HoistCasts(), DropIdleCopies(), InsertCopies())).run(module, [Watcher(), counts])
    assert seen == [(1, "hoist-casts", False), (2, "drop-idle-copies", True)]
    assert counts.changes == {"hoist-casts": 0, "drop-idle-copies": 1}, "each observer sees the pass after which one of them stops"
    tvm.ir.assert_structural_equal(after, DropIdleCopies().run(module))


def test_a_pass_that_raises_is_named_with_those_before_it(tmp_path: Path) -> None:
    pipeline = Pipeline((HoistCasts(), ElideCopies(), Fails(), ElideCopies()), tmp_path)
    with pytest.raises(PassError) as caught:
        pipeline.run(legal().module())
    assert caught.value.message == "pass fails failed (after hoist-casts, elide-copies): KeyError: 'x'"
    assert isinstance(caught.value.__cause__, KeyError)
    assert "# pipeline: fails,elide-copies\n" in (tmp_path / "reproducer_fails.py").read_text()
    assert str(tmp_path / "reproducer_fails.py") in caught.value.hint


def test_a_pass_whose_result_is_not_legal_is_named(tmp_path: Path) -> None:
    with pytest.raises(PassError) as caught:
        Pipeline((ForgetsCopies(),), tmp_path).run(legal().module())
    assert caught.value.message == (
        "pass forgets-copies failed (the first of the pipeline): VerifyError: "
        "one violation of the rules of a program in phase 'placed':\n"
        "  R2 small.onnx:out0: this output is wanted on atlas0, 'x' is on cpu (fix: x = lb.copy(x, \"atlas0\"))"
    )


def test_a_mistake_of_the_user_comes_through_as_it_is(tmp_path: Path) -> None:
    program = SmallProgram(placed=True, links=[["cpu", "gpu0"]])
    program.output(program.input("x"), device="atlas0")
    with pytest.raises(PlacementError):
        Pipeline((InsertCopies(),), tmp_path).run(program.module())
    assert list(tmp_path.iterdir()) == []
