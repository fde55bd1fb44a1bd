"""``landbridge explain``, codes and colours of errors on the command line."""

from __future__ import annotations

import io
import json
import sys

import pytest

from landbridge.cli import main
from landbridge.cli.colours import wanted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "LB3102"]) == 0
    assert capsys.readouterr().out.startswith("LB3102 (ArtifactCorrupt): An artifact is damaged.\n  cause: ")
    assert main(["explain", "3102", "lb1203", "--json"]) == 0
    assert [entry["code"] for entry in json.loads(capsys.readouterr().out)["codes"]] == ["LB3102", "LB1203"]


def test_all_codes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 100
    assert lines == sorted(lines)


def test_an_error_has_its_code_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "none.lbr", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "LB3000"
    assert printed.err.splitlines()[-1] == "  code: LB3000 (landbridge explain LB3000)"


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["explain", "LB9999"], "LB1116", 2),
        (["rnu"], "LB1101", 2),
        (["run"], "LB1101", 2),
        (["run", "x.lbr", "--fill", "twos"], "LB1101", 2),
        (["run", "x.lbr", "--repeat", "0"], "LB1100", 2),
        (["capture", "none.om"], "LB1001", 1),
    ],
)
def test_wrong_usage_and_the_systems_errors_have_codes_too(
    words: list[str], code: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def told(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return what a terminal gets of an error."""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.delenv("NO_COLOR", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        assert main(["explain", "LB9999"]) == 2
    return terminal.getvalue()


def test_a_terminal_gets_colours_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    text = told(monkeypatch, TERM="xterm")
    assert text.startswith("\033[1;31merror:\033[0m there is no error code 'LB9999'\n  \033[36mhint:\033[0m ")
    assert "\033" not in told(monkeypatch, TERM="dumb")
    assert "\033" not in told(monkeypatch, TERM="xterm", NO_COLOR="1")
    assert not wanted(io.StringIO())
