"""Tell on standard error what takes long: in one line on a terminal, in a line now and then elsewhere, and nothing of what is quick."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

PATIENCE_S = 2.0
"""Work that is done sooner is not worth a line."""

_BAR = 20
"""How wide a bar is."""

_REWRITE_S, _LINE_S = 0.2, 10.0
"""How often a terminal's line is rewritten, and how often a line is written elsewhere."""


class Progress:
    """What is being done, told while it is done.

    Example:
        with Progress("reading detector.onnx") as progress:
            model = read()
            progress.now("compiling detector.onnx")
            compile(model)
            progress.now("running it", share=0.5)  # a bar that is half full
    """

    def __init__(self, what: str, *, quiet: bool = False, stream: TextIO | None = None, patience_s: float = PATIENCE_S) -> None:
        """Nothing is told yet.

        Args:
            what: is being done, as in "compiling detector.onnx".
            quiet: tell nothing at all.
            stream: standard error by default.
            patience_s: how long to wait before anything is told.
        """
        self._what = what
        self._quiet = quiet
        self._stream = sys.stderr if stream is None else stream
        self._patience_s = patience_s
        self._started = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="landbridge-progress", daemon=True)
        self._width = 0
        self._share: float | None = None

    def now(self, what: str, share: float | None = None) -> None:
        """Say what is being done from now on.

        Args:
            what: is being done.
            share: of it, is done, from 0 to 1, where that is known: a terminal shows a bar of it.
        """
        self._what, self._share = what, share

    def __enter__(self) -> Progress:
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._done.set()
        if not self._quiet:
            self._thread.join()

    def _tell(self) -> None:
        terminal = self._stream.isatty()
        wait = self._patience_s
        while not self._done.wait(wait):
            line = f"{self._what} … {time.monotonic() - self._started:.0f} s"
            if terminal:
                line = _bar(self._share) + line
                self._stream.write(f"\r{line:<{self._width}}")
                self._width = len(line)
            else:
                self._stream.write(f"{line}\n")
            self._stream.flush()
            wait = min(_REWRITE_S, self._patience_s) if terminal else _LINE_S
        if self._width:
            self._stream.write(f"\r{'':<{self._width}}\r")
            self._stream.flush()


def _bar(share: float | None) -> str:
    """Return a bar that is full by ``share``, or nothing where that is unknown."""
    if share is None:
        return ""
    full = round(min(max(share, 0.0), 1.0) * _BAR)
    return f"[{'#' * full}{'.' * (_BAR - full)}] "
