"""How much of the processors' time others on the host of this virtual machine take while something runs."""

from __future__ import annotations

from pathlib import Path

_STAT = Path("/proc/stat")
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STOLEN = 0, 1, 2, 5, 6, 7
"""Places in the first line, which counts ticks of all processors (man 5 proc_stat)."""


class Stolen:
    """The part of the time that was wanted and not given, since this was made: 0 on a machine of one's own."""

    def __init__(self) -> None:
        self._before = _ticks()

    def part(self) -> float:
        """Return it, from 0 to 1."""
        given, stolen = (after - before for after, before in zip(_ticks(), self._before, strict=True))
        return stolen / (given + stolen) if given + stolen else 0.0


def _ticks() -> tuple[int, int]:
    """Return the ticks in which processors ran something, and in which they had to wait for their turn on the host."""
    counts = [int(count) for count in _STAT.read_text(encoding="ascii").partition("\n")[0].split()[1:]]
    return sum(counts[place] for place in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ)), counts[_STOLEN]
