"""Write a file so that its path has the old contents or the new ones, complete, whatever happens meanwhile.

The new contents go to a temporary file beside it, which is flushed to the disk and then renamed. A temporary file is locked
while its writer lives; one whose lock is free belongs to a writer that was killed, and the next save removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path


def save_file(path: str | Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Replace the contents of the file at ``path`` by ``chunks``; a link there is followed.

    Raises:
        OSError: it cannot be written; the old file is as it was. Only when a note on the error says that the new file is in place, it is.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():  # else the temporary file would be named
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _sweep(target)
    temporary, descriptor = _create(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    try:
        _sync_directory(target.parent)
    except OSError as error:
        error.add_note(f"{target} is complete and in place, but might not survive a loss of power")
        raise


def _create(target: Path) -> tuple[Path, int]:
    """Return a new file beside ``target``, and its descriptor, which holds the lock."""
    while True:
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(8).hex()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return temporary, descriptor
        except BaseException:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        os.close(descriptor)  # another process swept it between its creation and its lock


def _sweep(target: Path) -> None:
    """Remove the temporary files of saves to ``target`` that were killed."""
    prefix = f".{target.name}."
    with os.scandir(target.parent) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for path in found:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue  # gone meanwhile, or not ours
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except OSError:
            continue  # its writer lives, or somebody else swept it
        finally:
            os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
