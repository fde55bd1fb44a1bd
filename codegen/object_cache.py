"""Compiled kernels on disk, by name, for all processes of a user (`landbridge.runtime.cache_folder` says where).

A file is written beside its place and renamed to it, so that no process sees half of one, and begins with the SHA-256 of the rest: what a
full disk or a crash left is compiled again. Nothing fails because of the cache; without a folder nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from landbridge.runtime.cache_folder import cache_folder

_LOG = logging.getLogger(__name__)

KEPT_NBYTES = 512 << 20
"""When files take more than this, those that were not used for the longest time are removed."""

_DIGEST_NBYTES = 32


@dataclass(frozen=True)
class ObjectCache:
    """The objects in one folder; None keeps nothing."""

    folder: Path | None

    @staticmethod
    def open() -> ObjectCache:
        """Return the user's."""
        return ObjectCache(cache_folder("kernels"))

    def get(self, name: str) -> bytes | None:
        """Return the object of this name, or None where it is not there whole."""
        if self.folder is None:
            return None
        file = self.folder / f"{name}.o"
        try:
            data = file.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[_DIGEST_NBYTES:]).digest() != data[:_DIGEST_NBYTES]:
            _LOG.warning("%s is damaged; it is made again", file)
            return None
        with contextlib.suppress(OSError):  # removed meanwhile, or a folder that one may only read
            os.utime(file)
        return data[_DIGEST_NBYTES:]

    def put(self, name: str, data: bytes) -> None:
        """Keep an object."""
        if self.folder is None:
            return
        try:
            self._write(self.folder, f"{name}.o", hashlib.sha256(data).digest() + data)
        except OSError as error:
            _LOG.info("a compiled kernel cannot be kept in %s: %s", self.folder, error)

    @staticmethod
    def _write(folder: Path, name: str, content: bytes) -> None:
        descriptor, new = tempfile.mkstemp(dir=folder, prefix="new-")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(new, folder / name)
        except BaseException:
            os.unlink(new)
            raise

    def prune(self, kept_nbytes: int = KEPT_NBYTES) -> None:
        """Remove what was not used for the longest time until ``kept_nbytes`` are left."""
        total = 0
        for file, status in sorted(self._files(), key=lambda entry: -entry[1].st_mtime):
            total += status.st_size
            if total > kept_nbytes:
                with contextlib.suppress(OSError):  # a folder that one may only read
                    file.unlink()

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for file in self.folder.iterdir() if self.folder is not None else ():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                found.append((file, file.stat()))
        return found
