"""Limits on what a compilation may come to, for CI: ``landbridge compile --max-copies …``, and the same for ``report`` on an artifact."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from landbridge.cli import options
from landbridge.runtime.device import Device
from landbridge.runtime.dims import Size, evaluate, names, render
from landbridge.runtime.errors import PlacementError, UsageError, UserError, did_you_mean
from landbridge.runtime.report import Crossing, Report

_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_SHOWN = 5
"""How many of the things that are beyond a limit a message names."""


def add(parser: argparse.ArgumentParser, *, title: str) -> None:
    """Add the options that `Gates.parse` reads, in a group of this title."""
    group = parser.add_argument_group(title)
    group.add_argument("--max-copies", type=int, metavar="N", help="fail when more values cross than this")
    group.add_argument("--max-copy-bytes", type=int, metavar="N", help="fail when more bytes cross in a run than this")
    group.add_argument(
        "--fail-on-device-cast", action="store_true", help="fail when a value is converted because an offline model has another dtype"
    )
    group.add_argument("--fail-on-fallback", action="store_true", help="fail when a region is not native code")
    group.add_argument(
        "--memory-budget",
        action="append",
        default=[],
        metavar="DEVICE=SIZE",
        help="fail when a device needs more memory than this, such as atlas0=1GiB",
    )
    group.add_argument(
        "--dim",
        action="append",
        default=[],
        metavar="NAME=N",
        help="the extent of a named dimension, for --memory-budget, --max-copy-bytes and the report",
    )


@dataclass(frozen=True)
class Gates:
    """The limits.

    Attributes:
        max_copies: values that cross.
        max_copy_bytes: bytes that cross in a run.
        casts: whether values may be converted for the sake of an offline model.
        fallbacks: whether regions may be other than native code.
        budgets: by device, the bytes that it has.
        dims: the extents of named dimensions.
    """

    max_copies: int | None
    max_copy_bytes: int | None
    casts: bool
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
        casts, fallbacks = not arguments.fail_on_device_cast, not arguments.fail_on_fallback
        return Gates(arguments.max_copies, arguments.max_copy_bytes, casts, fallbacks, budgets, dims)

    def check(self, report: Report) -> None:
        """Refuse a result that is beyond a limit.

        Raises:
            PlacementError: naming the limit, what was found, and the largest parts of it.
            UsageError: a budget for a device, or an extent for a dimension, that the program has not.
        """
        for name in self.dims:
            if name not in report.dims:
                raise UsageError(f"--dim {name}: the program has no such dimension", hint=did_you_mean(name, report.dims), code="LB1112")
        self._check_copies(report)
        self._check_casts(report)
        if report.fallbacks and not self.fallbacks:
            count = len(report.fallbacks)
            found = f"{count} region{'s are' if count > 1 else ' is'} not native, --fail-on-fallback allows none"
            raise PlacementError(
                found,
                hint=_listed(f"{region.value} ({', '.join(region.nodes[:4])}: {region.reason})" for region in report.fallbacks),
                code="LB2205",
            )
        self._check_memory(report)

    def _check_copies(self, report: Report) -> None:
        moving = [crossing for crossing in report.copies if not crossing.aliased]
        if self.max_copies is not None and len(moving) > self.max_copies:
            found = f"{len(moving)} values cross, --max-copies allows {self.max_copies}"
            raise PlacementError(found, hint=self._largest(moving), code="LB2203")
        if self.max_copy_bytes is None:
            return
        running = [crossing for crossing in moving if not crossing.once]
        open_dims = [name for name in names(report.run_nbytes) if name not in self.dims]
        if open_dims:
            values = ", ".join(crossing.value for crossing in running if set(names(crossing.nbytes)) & set(open_dims))
            raise PlacementError(
                f"how many bytes cross depends on {', '.join(open_dims)} (values {values})",
                hint=f"give the extent, such as --dim {open_dims[0]}=8, to use --max-copy-bytes",
                code="LB2204",
            )
        total = evaluate(report.run_nbytes, self.dims)
        if total > self.max_copy_bytes:
            found = f"{total} bytes cross in a run, --max-copy-bytes allows {self.max_copy_bytes}"
            raise PlacementError(found, hint=self._largest(running), code="LB2204")

    def _check_casts(self, report: Report) -> None:
        if self.casts:
            return
        if any(not cast.direction for cast in report.casts):
            raise UsageError(
                "--fail-on-device-cast: this artifact, of format 1.0, does not tell why it converts",
                hint="compile the model anew",
                code="LB1112",
            )
        found = [cast for cast in report.casts if cast.direction != "cpu"]
        if not found:
            return
        count = f"{len(found)} value{'s are' if len(found) > 1 else ' is'}"
        listed = _listed(f"{cast.value} {cast.source} -> {cast.destination} {cast.direction}" for cast in found)
        raise PlacementError(f"{count} converted for an offline model, --fail-on-device-cast allows none", hint=listed, code="LB2207")

    def _check_memory(self, report: Report) -> None:
        for device, allowed in self.budgets.items():
            if device not in report.peak_nbytes:
                hint = f"devices in use: {', '.join(report.peak_nbytes)}"
                raise UsageError(f"--memory-budget {device}: the program does not use it", hint=hint, code="LB1112")
            formula = report.peak_nbytes[device]
            found = self._peak(device, formula)
            if found > allowed:
                sized = f" ({render(formula)})" if names(formula) else ""
                raise PlacementError(
                    f"{device} needs {found} bytes{sized}, --memory-budget allows {allowed}",
                    hint=self._parts(report, device),
                    code="LB2206",
                )

    def _peak(self, device: str, size: Size) -> int:
        missing = [name for name in names(size) if name not in self.dims]
        if missing:
            hint = f"give its largest extent, such as --dim {missing[0]}=8"
            raise UsageError(f"--memory-budget {device}: what it needs depends on {', '.join(missing)}", hint=hint, code="LB1112")
        return evaluate(size, self.dims)

    def _parts(self, report: Report, device: str) -> str:
        """Return what a device's memory is for, the largest part first."""
        memory = next(memory for memory in report.memory if memory.device == device)
        sizes = {name: evaluate(getattr(memory, name), self.dims) for name in ("arena", "constants", "weights", "workspace", "staging")}
        parts = ", ".join(f"{name} {size}" for name, size in sorted(sizes.items(), key=lambda item: -item[1]) if size)
        gears = f"; room for the largest gear is in the arena ({', '.join(memory.gears)})" if memory.gears else ""
        return f"{parts}{gears}; a smaller batch{' or largest gear' if gears else ''} needs less"

    def _largest(self, crossings: Sequence[Crossing]) -> str:
        """Return the largest crossings, as far as their sizes are known."""

        def nbytes(crossing: Crossing) -> int:
            known = all(name in self.dims for name in names(crossing.nbytes))
            return evaluate(crossing.nbytes, self.dims) if known else 0

        ordered = sorted(crossings, key=nbytes, reverse=True)
        return _listed(f"{c.value} {c.source} -> {c.destination}, {render(c.nbytes)} bytes" for c in ordered)


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


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
