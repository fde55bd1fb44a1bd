"""What a schedule rule is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class Rule(ABC):
    """A way to make kernels of some form fast; it never changes what they compute."""

    name: ClassVar[str]

    @abstractmethod
    def apply(self, kernel: Any, target: Any) -> Any | None:
        """Return the kernel scheduled for ``target``, or None where the rule declines."""
