"""No test here makes a driver break a rule of its vendor's interface."""

from __future__ import annotations

from support.strict import keeps_the_rules

__all__ = ["keeps_the_rules"]
