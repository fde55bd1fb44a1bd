"""Every block of code in the documentation runs, and prints what its page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.cli import VERBS
from support.pages import PAGES, ROOT, Block, Command, blocks, check_page, commands, page_commands, same

NOT_RUN = {
    "CONTRIBUTING.md": {"they run the tests"},
    "README.md": {"they make a virtual environment from PyPI"},
    "docs/how-to/from-laptop-to-board.md": {"needs a C compiler for another processor", "needs a board"},
    "docs/how-to/from-torch.md": {"needs PyTorch"},
    "docs/how-to/from-megengine.md": {"needs MegEngine and an Atlas"},
    "docs/index.md": {"they make a virtual environment from PyPI"},
    "docs/tutorial.md": {"needs the Ascend toolkit"},
    "docs/vendors.md": {"needs TensorRT and CNRT"},
}
"""By page the reasons why blocks of it are not run."""


@pytest.mark.parametrize("page", [page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page.read_text("utf-8"))])
def test_every_block_does_what_its_page_says(page: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    pytest.importorskip("cryptography", reason="needs cryptography")
    check_page(ROOT / page, tmp_path)


def test_what_is_not_run_is_little_and_has_its_reason() -> None:
    found = {page.relative_to(ROOT).as_posix(): {b.reason for b in blocks(page.read_text("utf-8")) if b.reason} for page in PAGES}
    assert {page: reasons for page, reasons in found.items() if reasons} == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_hides(page: Path) -> None:
    text = page.read_text("utf-8")
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in text.splitlines())
    assert fences == 2 * len(blocks(text)), "a fence that is indented or not closed"
    found = blocks(text)
    for number, block in enumerate(found):
        later = "".join(b.text for b in found[number + 1 :])
        assert not block.title or Path(block.title).stem in later, f"{block.title} is shown and never used"


def test_the_page_on_the_command_line_has_every_verb() -> None:
    told = {command.words[1] for command in page_commands(ROOT / "docs/cli.md") if command.words[0] == "landbridge"}
    assert told == {module.__name__.rpartition(".")[2].replace("_", "-") for module in VERBS}


def test_blocks_are_read_with_their_language_their_file_and_why_they_are_not_run() -> None:
    text = (
        '# A page\n\n```python title="a.py"\n1\n```\n\n```text\n2\n```\nwords\n'
        "<!-- not run: no board here -->\n```console\n$ x\n```\n```\n```\n"
    )
    assert blocks(text) == [
        Block("python", "a.py", "1\n", 4),
        Block("text", "", "2\n", 8, adjoins=True),
        Block("console", "", "$ x\n", 13, reason="no board here"),
        Block("", "", "", 16, adjoins=True),
    ]


def test_commands_are_read_with_what_they_print_and_their_status() -> None:
    block = Block("console", "", "$ landbridge run \\\n    'a b'   # exits 1\nfirst\n\nlast\n$ landbridge demo\n", 4)
    assert commands(block) == [Command("landbridge run 'a b'   # exits 1", ("first", "", "last"), 5), Command("landbridge demo", (), 9)]
    assert [(command.words, command.status) for command in commands(block)] == [
        (["landbridge", "run", "a b"], 1),
        (["landbridge", "demo"], 0),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        (("a 12.5  b",), ["a 3.5e-07 b"], True),
        (("a 123 bytes",), ["a 99999 bytes"], True),
        (("2 crossings",), ["4 crossings"], False),
        (("code: LB1203",), ["code: LB1204"], False),
        (("[n, 1, 8, 8]",), ["[n, 1, 8, 9]"], False),
        (("in 2 s, 5 ms, 7%",), ["in 13 s, 4 ms, 80%"], True),
        (("a 12 b",), ["a x b"], False),
        (("sha256:00ff",), ["sha256:abcdef"], True),
        (("a", "…", "z"), ["a", "b", "c", "z"], True),
        (("a", "…", "z"), ["a", "z"], True),
        (("a", "…", "z"), ["a", "b"], False),
        (("a",), ["a", "b"], False),
        ((), [], True),
    ],
)
def test_what_varies_from_machine_to_machine_may_vary_and_nothing_else(expected: tuple[str, ...], printed: list[str], fits: bool) -> None:
    assert same(expected, printed) is fits


def run(text: str, folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    check_page(page, folder)


GOOD = (
    '```python title="twice.py"\nimport sys\nprint(sys.argv[1] * 2)\n```\n'
    "```console\n$ python twice.py ab\nabab\n"
    "$ landbridge inspect none.om   # exits 1\nerror: none.om: No such file or directory\n  code: LB1001 (landbridge explain LB1001)\n```\n"
    "```python\nx = 'un'\n```\n\n```python\nprint(x + 'til')\n```\n\n```text\nuntil\n```\n"
    '```json\n{"a": 1}\n```\n```toml\na = 1\n```\n```c\nint f(void);\n```\n```\na -> b\n```\n'
    "<!-- not run: a reason -->\n```python\n1 / 0\n```\n"
)


def test_a_page_that_is_right(tmp_path: Path) -> None:
    run(GOOD, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nabab\n", "\nab\n", "twice.py ab\nabab"),
        ("   # exits 1", "", "exit status 1"),
        ("No such file", "Such a file", "No such file"),
        ("'til'", "'der'", "under"),
        ("```text\nuntil\n```\n", "", "until"),
        ('"a": 1}', '"a": 1', "delimiter"),
        ("a = 1", "a 1", "Expected"),
        ("int f(void)", "int f(void", "cc"),
        ("a -> b", "landbridge run x", "looks as if"),
        ("```toml", "```sh", "blocks of 'sh' are not run"),
        ("<!-- not run: a reason -->\n", "", "division"),
    ],
)
def test_a_page_that_is_wrong(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(Exception, match=message):
        run(GOOD.replace(old, new), tmp_path)


def test_a_page_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDBRIDGE_UPDATE_DOCS", "1")
    run(GOOD.replace("\nabab\n", "\n…\nold\n").replace("\nuntil\n", "\nwhen\n\n"), tmp_path)
    assert (tmp_path / "page.md").read_text("utf-8") == GOOD.replace("\nabab\n", "\n…\nabab\n")
