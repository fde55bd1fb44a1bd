"""What becomes of sessions in a forked child: nothing of them may be used there, or be given back.

Vendors' libraries have threads and device state that a fork does not bring along; locks may be held by threads that the child lacks.
So the child's sessions refuse at once, and nothing of them is ever destroyed there.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What wants to know of a fork."""

    def after_fork(self) -> None:
        """Take note, in the child, where no other thread runs. Must take no lock that the parent may have held."""


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()


def register(what: Forkable) -> None:
    """Call ``what.after_fork`` in every child of this process."""
    _known.add(what)


def keep_forever(what: object) -> None:
    """See to it that an object is never destroyed, not even when the interpreter ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _in_child() -> None:
    for what in list(_known):
        what.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
