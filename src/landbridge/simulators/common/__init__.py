"""What the simulated libraries share: C sources that belong to each of them, and how a command writes a model for one.

The codes, the texts and the functions of an interface are in its vendor's folder, which defines the ``VENDOR`` of ``common.h``.
"""

from __future__ import annotations

from pathlib import Path


def sources() -> list[Path]:
    """Return the C sources that belong to every simulated library."""
    return sorted(Path(__file__).parent.glob("*.c"))
