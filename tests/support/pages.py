"""Pages whose code runs: every block of a page, in order, in one empty folder.

What a block is follows from the language behind its fence:

- ``console``: ``$ `` begins a command, and what follows is what it prints. ``# exits 1`` after a command is its exit status, 0 otherwise;
  of a command that fails, the message on standard error belongs to what it prints.
- ``python``: run as one program with the other blocks of the page; a ``text`` block right behind it is what it prints.
- any of these and ``json``, ``toml``, ``yaml`` with ``title="NAME"``: a file of that name, which is written and not run.
- ``json``, ``toml``, ``c`` without a title: must be well-formed.
- ``text``, or no language: a drawing, a grammar; nothing that looks like a command.

A comment ``<!-- not run: REASON -->`` before a block takes it out; a test keeps the list of those.

A line ``…`` stands for any lines. Digests, numbers with a point or an exponent, times, percentages, and whole numbers of three digits and
more stand for any others, and columns may be wider or narrower: what varies from machine to machine varies in these. Smaller numbers are
counts, and must be right; so must codes of errors.
"""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from landbridge.cli import main
from support.plugin import install

ROOT = Path(__file__).parents[2]

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")})
"""Every page of the project."""

UPDATE = "LANDBRIDGE_UPDATE_DOCS"
"""Environment variable: where it is set, what is printed now is written into the pages."""

ANY = "…"


def updating() -> bool:
    """Return whether pages are to be written, and not compared."""
    return bool(os.environ.get(UPDATE))


_FENCE = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
_TITLE = re.compile(r'title="([^"]+)"')
_EXITS = re.compile(r"#\s*exits (\d+)\s*$")
_VARYING = re.compile(
    r"(LB\d{4})|sha256:[0-9a-f]+"
    r"|(?:ed25519:)?\b[0-9a-f]{16,}\b|[+-]?(?:\d+(?:\.\d+)+|\d+\.\d+e[+-]?\d+|\d{3,}|\d+(?= m?s\b|%))(?:e[+-]?\d+)?"
)
_ERROR = re.compile(r"^(?:[\w. -]+: )?error: ", re.M)
_RUNS = re.compile(r"^\s*(?:\$ |landbridge |pip |make |python |git |import |from \w+ import )", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: what stands behind the fence, "" for nothing.
        title: the name of the file that it is, or "".
        text: what is in it.
        line_number: of its first line, in the page.
        reason: why it is not run, or "".
        adjoins: nothing but empty lines stands between it and the block before.
    """

    language: str
    title: str
    text: str
    line_number: int
    reason: str = ""
    adjoins: bool = False


@dataclass(frozen=True)
class Command:
    """One command of a console block.

    Attributes:
        line: as it is written, after the prompt; where a backslash ends a line of the page, the next one is joined to it.
        printed: what the page says that it prints.
        line_number: of the page, where the command ends.
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


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        language, title = fence["info"].partition(" ")[0], _TITLE.search(fence["info"])
        line = text.count("\n", 0, fence.start("text")) + 1
        adjoins = bool(found) and not text[end : fence.start()].strip()
        found.append(Block(language, title[1] if title else "", fence["text"], line, fence["reason"] or "", adjoins))
        end = fence.end()
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block, in order."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line_number):
        if line.startswith("$ "):
            found.append(Command(line[2:], (), number))
            continue
        last = found.pop()
        if last.line.endswith("\\"):
            found.append(Command(last.line[:-1] + line.lstrip(), (), number))
        else:
            found.append(Command(last.line, (*last.printed, line), last.line_number))
    return found


def page_commands(path: Path) -> list[Command]:
    """Return all commands of a page that are run."""
    return [c for block in blocks(path.read_text("utf-8")) if block.language == "console" and not block.reason for c in commands(block)]


def same(expected: tuple[str, ...], printed: list[str]) -> bool:
    """Return whether lines are those that a page says, but for what may vary."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == ANY else f"{re.escape(_plain(line))}\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in printed)) is not None


def check_page(page: Path, folder: Path) -> None:
    """Run every block of a page in ``folder``, one after the other, and assert that it does what the page says."""
    text = page.read_text(encoding="utf-8")
    run = _Run(folder)
    before, modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with chdir(folder):
            found = blocks(text)
            for block, following in zip(found, [*found[1:], None], strict=True):
                if not block.reason:
                    run.block(block, following if following and following.adjoins else None)
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
                del sys.modules[name]  # the next page may have a file of that name
    if updating():
        page.write_text(_updated(text, run.found), encoding="utf-8")
    still = [f for f in run.found if not (f.status_right if updating() else f.right)]
    wrong = [f"{page.name}:{f.line_number}: {f.what}\n{chr(10).join(f.printed)}" for f in still]
    assert not wrong, f"set {UPDATE}=1 to write what is printed now into the page\n\n" + "\n\n".join(wrong)


@dataclass(frozen=True)
class _Found:
    """What a command or a program printed, and where the page says what it should have."""

    what: str
    line_number: int
    expected: tuple[str, ...]
    printed: list[str]
    status_right: bool = True

    @property
    def right(self) -> bool:
        return self.status_right and same(self.expected, self.printed)


@dataclass
class _Run:
    """A page that is being run.

    Attributes:
        folder: where.
        site: where packages that the page installs are; commands run in processes of their own from then on.
        names: the globals of the page's Python.
    """

    folder: Path
    site: Path | None = None
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    found: list[_Found] = field(default_factory=list)

    def block(self, block: Block, following: Block | None) -> None:
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command in commands(block):
                self._command(command)
        elif block.language == "python":
            self._python(block, following if following and following.language == "text" else None)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "c":
            subprocess.run(["cc", "-fsyntax-only", "-x", "c", "-"], input=block.text, text=True, check=True)
        else:
            assert block.language in ("", "text"), f"line {block.line_number}: blocks of '{block.language}' are not run"
            assert not _RUNS.search(block.text), f"line {block.line_number}: this looks as if it could be run"

    def _command(self, command: Command) -> None:
        status, printed = self._outcome(command.words)
        right = status == command.status
        what = f"$ {command.line}" + ("" if right else f"\nexit status {status}")
        self.found.append(_Found(what, command.line_number + 1, command.printed, printed, right))

    def _outcome(self, words: list[str]) -> tuple[int, list[str]]:
        """Run a command; return its exit status and what is seen of it."""
        if words[:2] == ["pip", "install"]:
            self.site = self.folder / ".site"
            self.site.mkdir(exist_ok=True)
            install(ROOT / words[2], self.site)
            return 0, []
        if words[0] == "cat":
            return 0, "".join(Path(name).read_text("utf-8") for name in words[1:]).splitlines()
        assert words[0] in ("landbridge", "python", "pytest"), f"the tests do not run {words[0]}"
        if words[:2] == ["landbridge", "demo"]:
            return demo(tuple(words[1:]), self.folder)
        if self.site is None and words[0] != "pytest":
            status, out, err = _here(words)
        else:
            python = words[1:] if words[0] == "python" else ["-m", *words]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(self.site or self.folder)))}
            done = subprocess.run([sys.executable, *python], capture_output=True, text=True, check=False, env=environment)
            status, out, err = done.returncode, done.stdout, done.stderr
        lines = out.splitlines()
        failure = _ERROR.search(err)
        if status and failure and "--json" not in words:
            lines += err[failure.start() :].splitlines()
        return status, [line.rstrip() for line in lines]

    def _python(self, block: Block, told: Block | None) -> None:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile("\n" * (block.line_number - 1) + block.text, "page", "exec"), self.names)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        if told is None and lines:  # where there is no block for it, the page lacks one
            lines = ["", "```text", *lines, "```"]
        line_number = told.line_number if told else block.line_number + block.text.count("\n") + 1
        self.found.append(_Found("python", line_number, tuple(told.text.splitlines()) if told else (), lines))


def _here(words: list[str]) -> tuple[int, str, str]:
    """Run a command in this process; return its exit status and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(words[1:]) if words[0] == "landbridge" else _python(words[1:])
    return status, out.getvalue(), err.getvalue()


def _python(words: list[str]) -> int:
    """Run ``python FILE …`` or ``python -m MODULE …`` in this process; return its exit status."""
    arguments, path = sys.argv, list(sys.path)
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.modules.pop(f"{words[1]}.__main__", None)  # a process of its own would not have it yet
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv, sys.path[:] = arguments, path
    return 0


def demo(words: tuple[str, ...], folder: Path) -> tuple[int, list[str]]:
    """Do in ``folder`` what ``landbridge demo …`` does; return its exit status and what it prints."""
    status, text, kept = _demo(words)
    shutil.copytree(kept.name, folder, dirs_exist_ok=True)
    return status, text.splitlines()


@cache
def _demo(words: tuple[str, ...]) -> tuple[int, str, tempfile.TemporaryDirectory[str]]:
    """Run the demo, once for all pages that begin with it; return its exit status, what it prints, and the folder that it ran in."""
    folder = tempfile.TemporaryDirectory(prefix="landbridge-demo-")
    with chdir(folder.name):
        status, out, _ = _here(["landbridge", *words])
    return status, out, folder


def _plain(line: str) -> str:
    return " ".join(_VARYING.sub(lambda found: found[1] or "#", line).split())


def _updated(text: str, found: list[_Found]) -> str:
    """Return the page with what is printed now; what stands for any lines stays."""
    lines = text.splitlines()
    for item in reversed(found):
        start, stop = item.line_number - 1, item.line_number - 1 + len(item.expected)
        if not item.right and lines[start:stop] == list(item.expected):
            lines[start:stop] = list(_kept(item.expected, item.printed))
    return "\n".join(lines) + "\n"


def _kept(expected: tuple[str, ...], printed: list[str]) -> Iterator[str]:
    told = [line.strip() for line in expected]
    if told.count(ANY) > 1:
        yield from expected
    elif ANY in told:
        before, after = told.index(ANY), len(told) - 1 - told.index(ANY)
        yield from (*printed[:before], ANY, *(printed[len(printed) - after :] if after else []))
    else:
        yield from printed
