"""The commands of the documentation run, and print what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.cli import VERBS
from support.console import Command, check_page, commands, same

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["docs/cli.md", "README.md"])
def test_every_command_prints_what_its_page_says(page: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    pytest.importorskip("cryptography", reason="needs cryptography")
    check_page(ROOT / page, tmp_path)


def test_the_page_on_the_command_line_has_every_verb() -> None:
    told = {command.words[1] for command in commands((ROOT / "docs/cli.md").read_text(encoding="utf-8"))}
    assert told == {module.__name__.rpartition(".")[2].replace("_", "-") for module in VERBS}


def test_commands_are_read_with_what_they_print_and_their_status() -> None:
    text = (
        "# A page\n\n```console\n$ landbridge run 'a b'   # exits 1\nfirst\n\nlast\n$ landbridge demo\n```\n\n```\n$ landbridge no\n```\n"
    )
    assert commands(text) == [
        Command("landbridge run 'a b'   # exits 1", ("first", "", "last"), 4),
        Command("landbridge demo", (), 8),
    ]
    assert [(command.words, command.status) for command in commands(text)] == [
        (["landbridge", "run", "a b"], 1),
        (["landbridge", "demo"], 0),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        (("a 12  b",), ["a 3.5e-07 b"], True),
        (("a 12 b",), ["a x b"], False),
        (("sha256:00ff",), ["sha256:abcdef"], True),
        (("a", "…", "z"), ["a", "b", "c", "z"], True),
        (("a", "…", "z"), ["a", "z"], True),
        (("a", "…", "z"), ["a", "b"], False),
        (("a",), ["a", "b"], False),
        ((), [], True),
    ],
)
def test_numbers_may_vary_and_words_may_not(expected: tuple[str, ...], printed: list[str], fits: bool) -> None:
    assert same(expected, printed) is fits
