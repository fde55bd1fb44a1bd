"""Hold every call of an offline model against the model's signature (R6), before anything is changed.

What the compiler may convert by itself is no mistake here; what nobody can mend but the user is, and all of it is said at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tvm

from landbridge.ir.signatures import mismatches
from landbridge.runtime.errors import SignatureError


@dataclass(frozen=True)
class CheckSignatures:
    """Refuse calls that do not match. Changes nothing."""

    name: ClassVar[str] = "check-signatures"
    phase: ClassVar[str] = "imported"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        """Return ``module`` itself.

        Raises:
            SignatureError: calls do not match; each with the value's name, what was expected, what was found, and the fix.
        """
        found = tuple(mismatches(module, converting=True))
        if len(found) == 1:
            raise SignatureError(found[0].message, at=found[0].at, hint=found[0].fix, code="LB2108")
        if found:
            lines = [f"{number}. {mismatch.at}: {mismatch.message}\n     fix: {mismatch.fix}" for number, mismatch in enumerate(found, 1)]
            raise SignatureError(
                f"{len(found)} things that do not match the offline models' signatures:\n  " + "\n  ".join(lines), code="LB2108"
            )
        return module
