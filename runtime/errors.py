"""Every error Landbridge raises on purpose, in one tree.

An error names the thing by the name the user knows (``at``), says what was found and what was expected (the message), and what
to do about it (``hint``). A `UserError` is something the caller can mend; a `BugError` is ours. `MemoryError`,
`KeyboardInterrupt` and `OSError` are never wrapped.

Every error has a code that stays the same from release to release, such as LB1201: two digits for its class, two for the case.
``landbridge explain LB1201`` tells symptom, cause and fix (`landbridge.runtime.error_codes` has them all). A class has a code for
whatever has none of its own; where an error is raised, ``code=`` names a closer one.

This file imports only the standard library; it is public as ``landbridge.errors``.

Example:
    >>> try:
    ...     session.run({"image": images.astype("float32")})
    ... except lb.errors.InputError as error:
    ...     print(error.code, error)
    LB1203 input 'image': float32 [20, 8, 8, 1], expected uint8 [n, 8, 8, 1]
      hint: convert it: array.astype("uint8")
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self


class LandbridgeError(Exception):
    """The root of the tree.

    Attributes:
        message: what was found and what was expected.
        at: where, in the user's words ("model.onnx:/layer1/act", "input 'x'"), or "".
        hint: what to do, or "".
        code: such as "LB1201"; of the class where none is given.
    """

    exit_code = 1
    code = "LB0000"

    def __init__(self, message: str, *, at: str = "", hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint
        self.code = code or type(self).code
        self.add_note(f"  {self.reference}")  # below the message in a traceback, but no part of str()

    @property
    def reference(self) -> str:
        """Where to read more: "code: LB1201 (landbridge explain LB1201)"."""
        return f"code: {self.code} (landbridge explain {self.code})"

    def within(self, at: str) -> Self:
        """Return this error, placed in something larger: "backbone.om" before "MODEL_DEF"."""
        self.at = f"{at}: {self.at}" if self.at else at
        return self

    def __str__(self) -> str:
        text = f"{self.at}: {self.message}" if self.at else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class UserError(LandbridgeError):
    """Something the caller gave or asked for cannot be done."""

    code = "LB1000"


class ModelError(UserError):
    """The model is not readable, not valid, or does not have what was asked of it."""

    code = "LB2000"


class SignatureError(UserError):
    """An offline model's signature cannot be read, or a call does not match it (R6)."""

    code = "LB2100"


class PlacementError(UserError):
    """A value is not where the rules want it (R2-R4), in a program that must be legal as written."""

    code = "LB2200"


class UnsupportedError(UserError):
    """A valid request for something that this build, target or vendor cannot do."""

    code = "LB2300"


class ArtifactError(UserError):
    """An artifact cannot be used. Its subclasses say why."""

    code = "LB3000"


class ArtifactCorrupt(ArtifactError):
    """The bytes are not what the writer wrote, or contradict themselves."""

    code = "LB3100"


class ArtifactIncompatible(ArtifactError):
    """The artifact is intact, but this runtime or machine cannot execute it."""

    code = "LB3200"


class ArtifactLimit(ArtifactError):
    """The artifact asks for more than the reader's limits allow."""

    code = "LB3300"


class ArtifactUntrusted(ArtifactError):
    """The artifact is intact, but it is not the one, or not signed by a key, that the caller trusts."""

    code = "LB3400"


class InputError(UserError):
    """An input of a run is missing, unknown, or has the wrong dtype, shape or place."""

    code = "LB1200"


class DeviceError(UserError):
    """A device or its driver is missing, or failed.

    Attributes:
        vendor_code: the vendor's error code, or None.
        vendor_text: the vendor's own words, or "".
        step: index in the plan of the step that failed, or None where it was none.
        device: the name of the device, or "".
        state: of the session afterwards (`landbridge.runtime.session.State`), or "" where there is none.
    """

    code = "LB4000"

    def __init__(
        self, message: str, *, at: str = "", hint: str = "", code: str = "", vendor_code: int | None = None, vendor_text: str = ""
    ) -> None:
        super().__init__(message, at=at, hint=hint, code=code)
        self.vendor_code = vendor_code
        self.vendor_text = vendor_text
        self.step: int | None = None
        self.device = ""
        self.state = ""


class DeviceLost(DeviceError):
    """A device failed in such a way that nothing can be done with it in this process any more; the session has failed."""

    code = "LB4100"


class DeviceTimeout(DeviceError):
    """A deadline has passed. Where a run had begun, its session has failed, since a vendor's call cannot be broken off."""

    code = "LB4200"


class SessionClosed(UserError):
    """The session was closed before this call, or is being closed."""

    code = "LB5000"


class SessionForked(SessionClosed):
    """The session was loaded before the process was forked: the child cannot use it, the parent can."""

    code = "LB5100"


class UsageError(UserError):
    """A command line, an option or an argument is not of the form it must have."""

    code = "LB1100"
    exit_code = 2


class BugError(LandbridgeError):
    """Landbridge broke its own rules. Please report it."""

    code = "LB9000"
    exit_code = 70


class PassError(BugError):
    """A pass failed; the message names it and the reproducer."""

    code = "LB9100"


class VerifyError(BugError):
    """A program breaks the rules of the domain where a pass should have kept them.

    Attributes:
        diagnostics: one line for every violation found.
    """

    code = "LB9200"

    def __init__(self, message: str, *, at: str = "", hint: str = "", code: str = "", diagnostics: tuple[str, ...] = ()) -> None:
        super().__init__(message, at=at, hint=hint, code=code)
        self.diagnostics = diagnostics


class PlanError(BugError):
    """An execution plan contradicts itself."""

    code = "LB9300"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown ``name``: the known one that is nearest to it, else what there is.

    Example:
        >>> did_you_mean("imgae", ["image", "mask"])
        "did you mean 'image'?"
        >>> did_you_mean("x", ["image", "mask"])
        'there are: image, mask'
    """
    names = list(known)
    meant = nearest(name, names)
    if meant:
        return f"did you mean '{meant}'?"
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"there are: {shown or 'none'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of the ``known`` names was probably meant by ``name``; "" where none is near.

    Example:
        >>> nearest("atlsa", ["atlas", "gpu"])
        'atlas'
    """
    import difflib  # noqa: PLC0415 - only after a mistake

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), "")
