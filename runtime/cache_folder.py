"""Where what can be made again is kept for the next process.

That is ``$LANDBRIDGE_CACHE``, else ``$XDG_CACHE_HOME/landbridge``, else ``~/.cache/landbridge``. All of it may be removed at any time;
with ``LANDBRIDGE_CACHE`` set to nothing, nothing is kept.

Code from it is run. So a folder that others than its owner can write into is not used.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

CACHE = "LANDBRIDGE_CACHE"
"""Environment variable: the folder; "" keeps nothing."""


def cache_folder(kind: str) -> Path | None:
    """Return the folder for one kind of things, made where it was not there.

    Args:
        kind: such as "kernels": the folder's name.

    Returns:
        None where nothing is to be kept, or no folder could be made, or others can write into the one that is there.
    """
    named = os.environ.get(CACHE)
    if named is not None:
        return private_folder(Path(named, kind)) if named else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    return private_folder(home / "landbridge" / kind)


def private_folder(folder: Path) -> Path | None:
    """Return ``folder``, made where it was not there; None where that fails, or somebody else can put a file into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    usable = status.st_uid == os.getuid() and not others and os.access(folder, os.W_OK | os.X_OK)
    return folder if usable else None
