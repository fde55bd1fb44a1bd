"""Call on a thread of its own, which has made no device and no context current."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def elsewhere(function: Callable[[], T]) -> T:
    """Return what a function gives there, or raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
