"""Let one thread at a time build IR.

TVM's block builders stand on one stack for all threads of a process, and its importers keep state between calls: two models compiled
at once would write into each other. Whoever calls from several threads gets right results, one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_LOCK = threading.RLock()


def one_at_a_time(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return ``function`` so that no two threads are in it, or in any other such function, at once."""

    @wraps(function)
    def alone(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with _LOCK:
            return function(*args, **kwargs)

    return alone
