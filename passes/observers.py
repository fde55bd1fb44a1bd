"""Watch a pipeline: dump, print, time and count its passes, collect what they declined, stop it.

Observers are where a pipeline may write files or print; passes do neither.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from landbridge.ir.printer import print_module
from landbridge.passes.base import Declined, PassEvent


@dataclass(frozen=True)
class DumpTo:
    """Write the module after each pass into a folder: ``007_hoist-casts.py``.

    Attributes:
        folder: made when the first file is written.
    """

    folder: Path

    def after_pass(self, event: PassEvent) -> bool:
        """Write the file; go on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{event.index:03}_{event.step.name}.py"
        path.write_text(print_module(event.after) + "\n", encoding="utf-8")
        return False


@dataclass(frozen=True)
class PrintAfter:
    """Print the module after one pass, or after each.

    Attributes:
        pass_name: after which; "" is each.
        stream: where to; standard error where None.
    """

    pass_name: str = ""
    stream: TextIO | None = None

    def after_pass(self, event: PassEvent) -> bool:
        """Print it; go on."""
        if self.pass_name in ("", event.step.name):
            (self.stream or sys.stderr).write(f"# after {event.step.name}\n{print_module(event.after)}\n")
        return False


@dataclass
class TimePasses:
    """Add up how long each pass took, without verification; by name, in the order in which they first ran."""

    elapsed_ns: dict[str, int] = field(default_factory=dict)

    def after_pass(self, event: PassEvent) -> bool:
        """Add the time; go on."""
        self.elapsed_ns[event.step.name] = self.elapsed_ns.get(event.step.name, 0) + event.elapsed_ns
        return False


@dataclass
class CountChanges:
    """Count in how many of its runs each pass changed something; by name, in the order in which they first ran."""

    changes: dict[str, int] = field(default_factory=dict)

    def after_pass(self, event: PassEvent) -> bool:
        """Count; go on."""
        self.changes[event.step.name] = self.changes.get(event.step.name, 0) + event.changed
        return False


@dataclass
class CollectDeclined:
    """Collect what passes declined to do, as (pass, reason and value), in the order of the pipeline."""

    declined: list[tuple[str, Declined]] = field(default_factory=list)

    def after_pass(self, event: PassEvent) -> bool:
        """Ask the pass; go on."""
        self.declined += [(event.step.name, declined) for declined in event.declined]
        return False


@dataclass(frozen=True)
class StopAfter:
    """Stop the pipeline after a pass; `landbridge.passes.place` then returns what there is.

    Attributes:
        pass_name: after which.
    """

    pass_name: str

    def after_pass(self, event: PassEvent) -> bool:
        """Stop if this was the one."""
        return event.step.name == self.pass_name
