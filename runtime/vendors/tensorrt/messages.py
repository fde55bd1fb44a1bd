"""Collect what TensorRT says, so that an error has its reason: TensorRT returns None or False and logs why."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

_log = logging.getLogger("landbridge.runtime.vendors.tensorrt")

_KEPT = 32
"""Messages that are kept until they are asked for; what TensorRT says of one failure are a few."""


class Messages:
    """The errors of one process, from a logger and an error recorder of TensorRT that write here.

    Attributes:
        logger: to be given to ``Runtime``; TensorRT has one logger in a process.
        recorder: to be set as ``error_recorder`` of the runtime, from which engines and contexts inherit it.
    """

    def __init__(self, trt: Any) -> None:
        self._errors: deque[tuple[int | None, str]] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self.logger = _logger_class(trt)(self)
        self.recorder = _recorder_class(trt)(self)

    def add(self, code: int | None, text: str) -> None:
        """Keep an error."""
        with self._lock:
            self._errors.append((code, text.strip()))

    def take(self) -> tuple[int | None, str]:
        """Return the first error code and all the words since the last time, and forget them."""
        with self._lock:
            errors, self._errors = list(self._errors), deque(maxlen=_KEPT)
        code = next((code for code, _ in errors if code is not None), None)
        texts = dict.fromkeys(text for _, text in errors if text)
        longest = [text for text in texts if not any(text != other and text in other for other in texts)]
        return code, "; ".join(longest)

    def pending(self) -> list[tuple[int | None, str]]:
        """Return the errors since the last time, not forgotten."""
        with self._lock:
            return list(self._errors)

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._errors.clear()


def _logger_class(trt: Any) -> Any:
    severity = trt.ILogger.Severity
    levels = {severity.INTERNAL_ERROR: logging.ERROR, severity.ERROR: logging.ERROR, severity.WARNING: logging.WARNING}

    class Logger(trt.ILogger):  # type: ignore[misc]  # a class of the vendor's, which is known only here
        """Passes everything on to Python's logging, and keeps the errors."""

        def __init__(self, messages: Messages) -> None:
            trt.ILogger.__init__(self)
            self._messages = messages

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                self._messages.add(None, msg)
                level = logging.INFO  # it comes as an exception, with this text
            _log.log(level, "%s", msg)

    return Logger


def _recorder_class(trt: Any) -> Any:
    class Recorder(trt.IErrorRecorder):  # type: ignore[misc]  # a class of the vendor's, which is known only here
        """Keeps the errors with their codes; called by TensorRT from any thread."""

        def __init__(self, messages: Messages) -> None:
            trt.IErrorRecorder.__init__(self)
            self._messages = messages

        def report_error(self, code: Any, desc: str) -> bool:
            self._messages.add(int(code), desc)
            return False

        def num_errors(self) -> int:
            return len(self._messages.pending())

        def get_error_code(self, index: int) -> Any:
            code = self._messages.pending()[index][0]
            return trt.ErrorCodeTRT(code if code is not None else trt.ErrorCodeTRT.UNSPECIFIED_ERROR)

        def get_error_desc(self, index: int) -> str:
            return self._messages.pending()[index][1]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            self._messages.clear()

    return Recorder
