"""Pages whose commands are run: ```` ```console ```` blocks, in which ``$ landbridge …`` is a command and what follows is what it prints.

``# exits 1`` after a command is its exit status, 0 otherwise. A line ``…`` stands for any lines. Numbers and digests in what is printed
stand for any others, and columns may be wider or narrower: what varies from machine to machine varies in numbers.
"""

from __future__ import annotations

import io
import os
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from landbridge.cli import main

UPDATE = "LANDBRIDGE_UPDATE_DOCS"
"""Environment variable: where it is set, what the commands print now is written into the pages."""

ANY = "…"

_FENCE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
_EXITS = re.compile(r"#\s*exits (\d+)\s*$")
_VARYING = re.compile(r"sha256:[0-9a-f]+|\b[0-9a-f]{16,}\b|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        line: as it is written, after the prompt.
        printed: what the page says that it prints.
        line_number: of the page.
    """

    line: str
    printed: tuple[str, ...]
    line_number: int

    @property
    def words(self) -> list[str]:
        """What the shell makes of it."""
        return shlex.split(self.line, comments=True)

    @property
    def status(self) -> int:
        """The exit status that the page says."""
        found = _EXITS.search(self.line)
        return int(found[1]) if found else 0


def commands(text: str) -> list[Command]:
    """Return the commands of a page, in order."""
    found: list[Command] = []
    for fence in _FENCE.finditer(text):
        number = text.count("\n", 0, fence.start(1)) + 1
        for offset, line in enumerate(fence[1].splitlines()):
            if line.startswith("$ "):
                found.append(Command(line[2:], (), number + offset))
            else:
                last = found.pop()
                found.append(Command(last.line, (*last.printed, line), last.line_number))
    return found


def run(command: Command) -> tuple[int, list[str]]:
    """Return the exit status of a command and the lines that it prints to standard output."""
    program, *words = command.words
    assert program == "landbridge", command.line
    printed = io.StringIO()
    with redirect_stdout(printed):
        status = main(words)
    return status, [line.rstrip() for line in printed.getvalue().splitlines()]


def same(expected: tuple[str, ...], printed: list[str]) -> bool:
    """Return whether lines are those that a page says, but for what may vary."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == ANY else f"{re.escape(_plain(line))}\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in printed)) is not None


def check_page(page: Path, folder: Path) -> None:
    """Run every command of a page in ``folder``, one after the other, and assert that it prints what the page says."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        for command in commands(text):
            status, printed = run(command)
            if os.environ.get(UPDATE):
                text = _updated(text, command, printed)
            elif (status, same(command.printed, printed)) != (command.status, True):
                wrong.append(f"{page.name}:{command.line_number}: $ {command.line}\nexit status {status}\n" + "\n".join(printed))
    finally:
        os.chdir(before)
    if os.environ.get(UPDATE):
        page.write_text(text, encoding="utf-8")
    assert not wrong, f"set {UPDATE}=1 to write what is printed now into the page\n\n" + "\n\n".join(wrong)


def _plain(line: str) -> str:
    return " ".join(_VARYING.sub("#", line).split())


def _updated(text: str, command: Command, printed: list[str]) -> str:
    """Return the page with what a command prints now; what stands for any lines stays."""
    told = [line.strip() for line in command.printed]
    if told.count(ANY) > 1:
        return text
    if ANY in told:
        before, after = told.index(ANY), len(told) - 1 - told.index(ANY)
        printed = [*printed[:before], ANY, *(printed[len(printed) - after :] if after else [])]
    old = "\n".join([f"$ {command.line}", *command.printed, ""])
    assert text.count(old) == 1, f"'{command.line}' stands twice"
    return text.replace(old, "\n".join([f"$ {command.line}", *printed, ""]))
