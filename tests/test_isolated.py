from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

import pytest

from landbridge.isolated import ISOLATE, Ended, isolated
from landbridge.runtime.errors import BugError, ModelError


def test_what_a_child_finds_comes_back_in_order() -> None:
    def work(send: Any) -> None:
        send(1)
        send({"bytes": b"x" * 1_000_000})

    assert isolated(work) == Ended((1, {"bytes": b"x" * 1_000_000}))


def test_a_child_leaves_nothing_behind_here() -> None:
    here = [0]

    def work(send: Any) -> None:
        here.append(1)
        send(len(here))

    assert isolated(work).found == (2,)
    assert here == [0]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_told_with_what_was_found_before(number: signal.Signals) -> None:
    def work(send: Any) -> None:
        send("before")
        os.kill(os.getpid(), number)

    assert isolated(work) == Ended(("before",), f"crashed with {number.name}")


def test_a_child_that_says_nothing_is_killed() -> None:
    def work(send: Any) -> None:
        send(os.getpid())
        threading.Event().wait(60)

    ended = isolated(work, silence_s=0.3)
    assert ended.death == "said nothing for 0.3 s"
    with pytest.raises(ProcessLookupError):
        os.kill(ended.found[0], 0)


def test_an_exception_of_the_child_is_raised_here_with_its_fields() -> None:
    def work(send: Any) -> None:
        raise ModelError("not valid", at="model.onnx", hint="mend it")

    with pytest.raises(ModelError, match="not valid") as caught:
        isolated(work)
    assert (caught.value.at, caught.value.hint) == ("model.onnx", "mend it")
    assert "test_isolated.py" in str(caught.value.__cause__)


def test_an_exception_that_cannot_be_pickled_keeps_its_text() -> None:
    class Odd(Exception):
        pass

    def work(send: Any) -> None:
        raise Odd("odd")

    with pytest.raises(BugError, match="Odd: odd"):
        isolated(work)


def test_what_a_child_prints_is_for_the_log(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    def work(send: Any) -> None:
        sys.stderr.write("of Python\n")
        os.write(2, b"of native code\n")
        send(0)

    def dying(send: Any) -> None:
        os.write(2, b"last words\n")
        os.kill(os.getpid(), signal.SIGKILL)

    caplog.set_level(logging.DEBUG)
    isolated(work)
    isolated(dying)
    assert capfd.readouterr().err == ""
    for said in ("of Python", "of native code", "last words"):
        assert said in caplog.text


def test_the_work_can_be_kept_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISOLATE, "0")
    assert isolated(lambda send: send(os.getpid())).found == (os.getpid(),)
