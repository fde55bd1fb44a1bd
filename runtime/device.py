"""The names of devices: ``cpu``, ``atlas0``, ``gpu1``.

A device is a kind and an ordinal. There is one CPU. The kinds known from the start are in `KINDS`; a vendor may add its own
(`register_kind`), and an unknown name makes the installed vendors do so. This module knows names only; whether such a device is
present is its driver's affair.
"""

from __future__ import annotations

import re
from functools import total_ordering

from landbridge.runtime.errors import UsageError, nearest
from landbridge.runtime.records import dataclass

KINDS: dict[str, str] = {
    "cpu": "cpu",
    "gpu": "gpu",
    "cuda": "gpu",
    "atlas": "atlas",
    "cambricon": "cambricon",
    "mlu": "cambricon",
    "openvino": "openvino",
}
"""Every accepted spelling of a device kind, with the kind it stands for."""

_NAME = re.compile(r"([a-z][a-z_]*?):?(\d+|x)?")


def register_kind(kind: str, aliases: tuple[str, ...] = ()) -> None:
    """Make ``kind`` and its ``aliases`` known to `Device.parse`.

    Raises:
        UsageError: a spelling is taken by another kind.
    """
    for spelling in (kind, *aliases):
        if KINDS.setdefault(spelling, kind) != kind:
            raise UsageError(f"device name '{spelling}' already stands for '{KINDS[spelling]}'", hint="choose another name")


@total_ordering
@dataclass(frozen=True)
class Device:
    """One device: its kind and which one of that kind.

    Example:
        >>> Device.parse("cuda:1")
        Device(kind='gpu', ordinal=1)
        >>> str(Device.parse("cpux")), str(Device.parse("atlas"))
        ('cpu', 'atlas0')
    """

    kind: str
    ordinal: int = 0

    @staticmethod
    def parse(text: str | Device) -> Device:
        """Return the device that ``text`` names.

        ``x`` in place of the ordinal, or none, is the first one: ``cpux``, ``atlas``. ``cuda`` is ``gpu``, ``mlu`` is
        ``cambricon``.

        Raises:
            UsageError: no such kind, or not of the form of a device name.
        """
        if isinstance(text, Device):
            return text
        match = _NAME.fullmatch(text.strip().lower())
        kind = _kind(match[1]) if match else None
        if match is None or kind is None:
            word, number = text.rstrip("0123456789"), text[len(text.rstrip("0123456789")) :]
            meant = nearest(word, KINDS)
            guess = f"did you mean '{meant}{number or 0}'? " if meant else ""
            known = ", ".join(dict.fromkeys(KINDS.values()))
            hint = f"{guess}a device is a kind and a number, as in atlas0; kinds: {known}"
            raise UsageError(f"unknown device '{text}'", hint=hint, code="LB1102")
        ordinal = int(match[2]) if match[2] not in (None, "x") else 0
        if kind == "cpu" and ordinal != 0:
            raise UsageError(f"unknown device '{text}': there is one CPU", hint="write cpu, cpux or cpu0", code="LB1102")
        return Device(kind, ordinal)

    def __lt__(self, other: Device) -> bool:
        return (self.kind, self.ordinal) < (other.kind, other.ordinal)

    @property
    def is_cpu(self) -> bool:
        """Whether this is the host."""
        return self.kind == "cpu"

    def __str__(self) -> str:
        return "cpu" if self.is_cpu else f"{self.kind}{self.ordinal}"


def _kind(spelling: str) -> str | None:
    """Return the kind that ``spelling`` stands for, or None."""
    if spelling not in KINDS:
        from landbridge.runtime.vendors import registry  # noqa: PLC0415 - the registry is built on this module

        registry.vendors()
    return KINDS.get(spelling)


CPU = Device("cpu")
"""The host, over which everything crosses."""
