"""Ask TVM about the nodes of a model in a forked child first: what brings the child down is not tried here.

The walk over a graph goes on by itself until it comes to a node that nobody has tried. There a child is forked, which has all that the
walk has so far; it walks on to the end, and says of each node what it tries and what it finds. Then this process goes on. What was found is
kept by content (`landbridge.verdicts`), so that models of known nodes need no child.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from landbridge.isolated import Send, isolated, isolating
from landbridge.runtime.errors import UnsupportedError
from landbridge.verdicts import Key, Verdicts, code_digest, key_of

_VERSIONS = ("apache-tvm", "apache-tvm-ffi", "onnx")


class Scout:
    """What is known of the nodes of one graph, and who finds it out."""

    def __init__(self, title: str) -> None:
        """Know what is on disk.

        Args:
            title: what messages call the model.
        """
        self._title = title
        self._verdicts = Verdicts("imports", code_digest(Path(__file__).parent, *(metadata.version(name) for name in _VERSIONS)))
        self._deadly: dict[Key, str] = {}
        self._send: Send | None = None

    def danger(self, content: Any, walk_on: Callable[[], None]) -> str:
        """Return what TVM does with a node that must not be tried again, or "" where it may be.

        Args:
            content: whatever decides it, with a ``repr`` that tells it.
            walk_on: visits this node and all that come after it; called in a child.

        Raises:
            UnsupportedError: a child dies before it tries the node.
        """
        key = key_of(repr(content))
        if self._send is not None:
            self._send((key, None))
        elif isolating() and self._verdicts.get(key) is None and key not in self._deadly:
            self._explore(key, walk_on)
        return self._deadly.get(key, "")

    def problem(self, content: Any, find: Callable[[], str]) -> str:
        """Return why TVM does not lower a node, or ""; ``find`` finds it where it is not known."""
        key = key_of(repr(content))
        known = self._verdicts.get(key) if self._send is None else None
        if known is None:
            known = find()
            if self._send is not None:
                self._send((key, known))
            self._verdicts.add(key, known, keep=False)
        return known

    def _explore(self, key: Key, walk_on: Callable[[], None]) -> None:
        def work(send: Send) -> None:
            self._send = send
            walk_on()

        ended = isolated(work)
        found: dict[Key, str | None] = {}
        for tried, problem in ended.found:
            found[tried] = problem if problem is not None else found.get(tried)
        last = ended.found[-1] if ended.found else ("", "")
        for tried, known in found.items():
            if ended.death and last == (tried, None):
                self._deadly[tried] = f"TVM {ended.death} on it"
            elif self._verdicts.get(tried) is None:
                self._verdicts.add(tried, known or "")  # "" too where the importer refuses it, which it will say again
        if key not in found:
            raise UnsupportedError(f"the import of the model {ended.death or 'cannot go on'}", at=self._title)
