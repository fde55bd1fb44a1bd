"""What takes long is told: on a terminal in one line, elsewhere in lines, quietly not at all."""

from __future__ import annotations

import io
import re
import time
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from landbridge.cli import main
from landbridge.cli import progress as module
from landbridge.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(stream: io.StringIO, text: str) -> None:
    end = time.monotonic() + 10
    while text not in re.sub(r"\d+ s", "0 s", stream.getvalue()):  # the machine may have other things to do for a second
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.005)


def test_what_is_quick_is_not_told() -> None:
    stream = io.StringIO()
    with Progress("reading", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_what_takes_long_is_told_in_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with mock.patch.object(module, "_LINE_S", 0.01), Progress("reading x.onnx", stream=stream, patience_s=0.01) as progress:
        wait_for(stream, "reading x.onnx … 0 s\n")
        progress.now("compiling x.onnx")
        wait_for(stream, "compiling x.onnx … 0 s\n")
    told = stream.getvalue()
    assert "\r" not in told
    time.sleep(0.05)
    assert stream.getvalue() == told


def test_a_terminals_line_is_rewritten_and_cleared() -> None:
    stream = Terminal()
    with Progress("reading", stream=stream, patience_s=0.01) as progress:
        wait_for(stream, "\rreading … 0 s")
        progress.now("go")
        wait_for(stream, "\rgo … 0 s")
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith(f"\r{'':<{len('go … 0 s')}}\r")


def test_a_terminal_shows_a_bar_of_what_is_known_to_be_done() -> None:
    stream = Terminal()
    with Progress("running", stream=stream, patience_s=0.01) as progress:
        for share, bar in ((0.0, "." * 20), (0.25, "#" * 5 + "." * 15), (2.0, "#" * 20)):
            progress.now("running", share)
            wait_for(stream, f"\r[{bar}] running … 0 s")
        progress.now("ending")
        wait_for(stream, "\rending … 0 s")


def test_every_verb_tells_what_takes_long(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def slow(arguments: object) -> int:
        time.sleep(0.05)
        return 0

    made = partial(Progress, patience_s=0.005)
    with mock.patch("landbridge.cli.options.Progress", made), mock.patch("landbridge.cli.inspect.execute", slow):
        assert main(["inspect", str(files / "host.lbr")]) == 0
        assert capsys.readouterr().err.startswith(f"inspect {files / 'host.lbr'} … 0 s\n")
        assert main(["inspect", str(files / "host.lbr"), "--quiet"]) == 0
        assert capsys.readouterr().err == ""


def test_quiet_is_quiet() -> None:
    stream = io.StringIO()
    with Progress("reading", quiet=True, stream=stream, patience_s=0):
        time.sleep(0.02)
    assert stream.getvalue() == ""


def test_verbs_tell_what_they_do_on_standard_error_alone(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*more: str) -> tuple[str, str]:
        capsys.readouterr()
        made = partial(Progress, patience_s=0)
        with mock.patch("landbridge.cli.options.Progress", made), mock.patch.object(module, "_LINE_S", 0.001):
            assert main(["run", str(files / "host.lbr"), "--fill", "ones", "--repeat", "300", *more]) == 0
        printed = capsys.readouterr()
        return printed.out, printed.err

    out, err = run()
    assert f"running {files / 'host.lbr'} … 0 s\n" in err
    assert "running" not in out
    assert run("--quiet")[1] == ""
