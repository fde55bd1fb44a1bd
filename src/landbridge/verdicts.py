"""What was found out by content, kept on disk for all processes of a user: a text by key, "" for nothing wrong.

A verdict is a line appended by one write, so that any number of processes may add to a file at once; a line that is not whole is not
there. What cannot be read or written is worked out again. `landbridge.runtime.cache_folder` says where they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from landbridge.runtime.cache_folder import cache_folder

_LOG = logging.getLogger(__name__)

Key = str
"""The SHA-256 of whatever decides the verdict (`key_of`)."""


def key_of(*parts: str | bytes) -> Key:
    """Return the key of some content."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.hexdigest()


@lru_cache(maxsize=8)
def code_digest(folder: Path, *versions: str) -> Key:
    """Return a digest of the Python files under ``folder`` and of versions: what code gave a verdict."""
    return key_of(*versions, *(path.read_bytes() for path in sorted(folder.rglob("*.py"))))


class Verdicts:
    """The verdicts of one kind, by one version of the code that gives them."""

    def __init__(self, kind: str, code: Key) -> None:
        """Read what is there.

        Args:
            kind: such as "imports": the folder in the cache.
            code: verdicts of other code are not seen.
        """
        folder = cache_folder(kind)
        self._path = folder / f"{code[:32]}.jsonl" if folder else None
        self._known = dict(_read(self._path)) if self._path else {}

    def get(self, key: Key) -> str | None:
        """Return the verdict, or None where there is none yet."""
        return self._known.get(key)

    def add(self, key: Key, verdict: str, *, keep: bool = True) -> None:
        """Note a verdict.

        Args:
            keep: whether other processes may rely on it.
        """
        self._known[key] = verdict
        if self._path is None or not keep:
            return
        line = json.dumps([key, verdict]).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            _LOG.debug("a verdict cannot be kept: %s", error)
            self._path = None


def _read(path: Path) -> Iterable[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            key, verdict = json.loads(line)
        except (ValueError, TypeError):
            continue  # cut off, or two in one
        if isinstance(key, str) and isinstance(verdict, str):
            yield key, verdict
