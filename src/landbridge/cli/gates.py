"""Limits on what a compilation may come to, for CI: ``landbridge compile --max-copies …``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass

from landbridge.cli import options
from landbridge.runtime.device import Device
from landbridge.runtime.dims import Size, evaluate, names, render
from landbridge.runtime.errors import PlacementError, UsageError, UserError, did_you_mean
from landbridge.runtime.report import Report

_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Gates:
    """The limits.

    Attributes:
        max_copies: values that cross.
        max_copy_bytes: bytes that cross in a run.
        fallbacks: whether regions may be other than native code.
        budgets: by device, the bytes that it has.
        dims: the largest extents of named dimensions.
    """

    max_copies: int | None
    max_copy_bytes: int | None
    fallbacks: bool
    budgets: Mapping[str, int]
    dims: Mapping[str, int]

    @staticmethod
    def parse(arguments: argparse.Namespace) -> Gates:
        """Return the limits that the command line names.

        Raises:
            UsageError: one is malformed, or names a device that cannot be.
        """
        budgets = dict(_budget(text) for text in arguments.memory_budget)
        dims = options.numbers(arguments.dim, option="--dim")
        return Gates(arguments.max_copies, arguments.max_copy_bytes, not arguments.fail_on_fallback, budgets, dims)

    def check(self, report: Report) -> None:
        """Refuse a result that is beyond a limit.

        Raises:
            PlacementError: naming the limit, what was found, and the largest parts of it.
            UsageError: a budget for a device, or an extent for a dimension, that the program has not.
        """
        self._check_copies(report)
        if report.fallbacks and not self.fallbacks:
            regions = "; ".join(f"{region.value} ({region.reason})" for region in report.fallbacks[:5])
            count = len(report.fallbacks)
            found = f"{count} region{'s are' if count > 1 else ' is'} not native, --fail-on-fallback allows none"
            raise PlacementError(found, hint=regions, code="LB2205")
        self._check_memory(report)

    def _check_copies(self, report: Report) -> None:
        moving = [crossing for crossing in report.copies if not crossing.aliased]
        largest = "; ".join(f"{c.value} {c.source} -> {c.destination}, {render(c.nbytes)} bytes" for c in moving[:5])
        if self.max_copies is not None and len(moving) > self.max_copies:
            raise PlacementError(f"{len(moving)} values cross, --max-copies allows {self.max_copies}", hint=largest, code="LB2203")
        if self.max_copy_bytes is None:
            return
        open_sizes = [crossing.value for crossing in moving if names(crossing.nbytes)]
        if open_sizes:
            raise PlacementError(
                f"how many bytes cross depends on {', '.join(report.dims)} (values {', '.join(open_sizes)})",
                hint="fix the extents with --shape to use --max-copy-bytes",
                code="LB2204",
            )
        total = sum(crossing.nbytes for crossing in moving if not crossing.once)
        if total > self.max_copy_bytes:
            raise PlacementError(
                f"{total} bytes cross in a run, --max-copy-bytes allows {self.max_copy_bytes}", hint=largest, code="LB2204"
            )

    def _check_memory(self, report: Report) -> None:
        for name in self.dims:
            if name not in report.dims:
                raise UsageError(f"--dim {name}: the program has no such dimension", hint=did_you_mean(name, report.dims), code="LB1112")
        for device, allowed in self.budgets.items():
            if device not in report.peak_nbytes:
                hint = f"devices in use: {', '.join(report.peak_nbytes)}"
                raise UsageError(f"--memory-budget {device}: the program does not use it", hint=hint, code="LB1112")
            found = self._peak(device, report.peak_nbytes[device])
            if found > allowed:
                formula = report.peak_nbytes[device]
                sized = f" ({render(formula)})" if names(formula) else ""
                raise PlacementError(
                    f"{device} needs {found} bytes{sized}, --memory-budget allows {allowed}",
                    hint="the arena, and the weights and workspace of its offline models; a smaller largest gear or batch needs less",
                    code="LB2206",
                )

    def _peak(self, device: str, size: Size) -> int:
        missing = [name for name in names(size) if name not in self.dims]
        if missing:
            hint = f"give its largest extent, such as --dim {missing[0]}=8"
            raise UsageError(f"--memory-budget {device}: what it needs depends on {', '.join(missing)}", hint=hint, code="LB1112")
        return evaluate(size, self.dims)


def _budget(text: str) -> tuple[str, int]:
    """Return the device and the bytes that ``DEVICE=SIZE`` names."""
    device, _, size = text.partition("=")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", size)
    if not device or found is None or found[2] not in _UNITS:
        units = ", ".join(unit for unit in _UNITS if unit)
        hint = f"as in --memory-budget atlas0=1GiB; units: {units}"
        raise UsageError(f"--memory-budget '{text}' is not of the form DEVICE=SIZE", hint=hint, code="LB1115")
    try:
        name = str(Device.parse(device))
    except UserError as error:
        raise UsageError(f"--memory-budget '{text}': {error.message}", hint=error.hint) from None
    return name, int(float(found[1]) * _UNITS[found[2]])
