"""Choose among the blobs that an offline-model call carries: the first that can run here (`landbridge.runtime.loader` has the rules).

What is passed over, and why, is kept and logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from landbridge.runtime.artifact import ExternRecord
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.loader import Reason, Refused
from landbridge.runtime.records import dataclass

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PassedOver:
    """A blob that cannot run here.

    Attributes:
        name: of the blob, such as "backbone910.om".
        vendor: of the blob.
        device: that it is for.
        reason: which sort of thing is wrong.
        text: what was found and what is needed.
        fix: what to do.
    """

    name: str
    vendor: str
    device: str
    reason: Reason
    text: str
    fix: str

    def __str__(self) -> str:
        """Return it as a line of a list."""
        return f"{self.name} on {self.device}: {self.text}" + (f" (fix: {self.fix})" if self.fix else "")


@dataclass(frozen=True)
class ModelChoice:
    """Which of its blobs an offline-model call runs.

    Attributes:
        model: what the call is named by: the name of its first blob.
        name: of the blob that was chosen.
        vendor: of that blob.
        device: where it runs.
        passed_over: those before it, which cannot run here.
        left: names of those after it, which were not tried.
    """

    model: str
    name: str
    vendor: str
    device: str
    passed_over: tuple[PassedOver, ...] = ()
    left: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the choice as plain data."""
        return {**asdict(self), "passed_over": [asdict(one) for one in self.passed_over], "left": list(self.left)}


def choose(record: ExternRecord, run_here: Callable[[ExternRecord], None]) -> tuple[ExternRecord, ModelChoice]:
    """Return the first blob of a call that runs here, with the others as its alternatives, and why it is that one.

    Args:
        run_here: makes a blob ready to run; raises `Refused` where it cannot be.

    Raises:
        LandbridgeError: none can be: the one blob's own error, or a `DeviceError` with the reason of each.
    """
    refused: list[Refused] = []
    for index, one in enumerate(record.candidates):
        try:
            run_here(one)
        except Refused as refusal:
            refused.append(refusal)
        else:
            passed = [passed_over(*pair) for pair in zip(record.candidates, refused, strict=False)]
            left = [other.title for other in record.candidates[index + 1 :]]
            choice = ModelChoice(record.title, one.title, one.vendor, one.device, tuple(passed), tuple(left))
            _log(choice)
            return record.with_first(index), choice
    raise none_runs(record, refused) from refused[0].error


def passed_over(record: ExternRecord, refused: Refused) -> PassedOver:
    """Return why a blob is passed over."""
    return PassedOver(record.title, record.vendor, record.device, refused.reason, refused.error.message, refused.error.hint)


def none_runs(record: ExternRecord, refused: Sequence[Refused]) -> Exception:
    """Return the error that no blob of a call can run here: that of its only one, or one with what each of them lacks."""
    if len(refused) == 1:
        return refused[0].error
    lines = [f"- {passed_over(*pair)}" for pair in zip(record.candidates, refused, strict=True)]
    error = DeviceError(
        "\n".join([f"none of its {len(lines)} blobs can run here", *lines]),
        at=record.title,
        hint="mend one of these, or compile with a blob for this machine, or with a fallback",
        code="LB4017",
    )
    error.device = record.device
    return error


def _log(choice: ModelChoice) -> None:
    for one in choice.passed_over:
        _LOG.warning("%s: %s on %s is passed over: %s", choice.model, one.name, one.device, one.text)
    if choice.passed_over:
        _LOG.warning("%s: %s runs in its place, by %s on %s", choice.model, choice.name, choice.vendor, choice.device)
    elif choice.left:
        _LOG.info("%s: the first of its blobs is chosen, by %s on %s", choice.model, choice.vendor, choice.device)
