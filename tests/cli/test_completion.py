"""Completion: each shell that is installed completes verbs, options, their values and files, by the script that the verb prints."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from landbridge.cli import main, parser
from landbridge.cli.completion import SHELLS, described


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script of each shell, and a file to complete."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, render in SHELLS.items():
        (folder / f"landbridge.{shell}").write_text(render(described(parser())), encoding="utf-8")
    (folder / "detector.lbr").touch()
    return folder


def bash(scripts: Path, *words: str) -> set[str]:
    """Return what bash completes the last of ``words`` to."""
    program = (
        'source ./landbridge.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _landbridge; printf "%s\\n" "${COMPREPLY[@]}"\n'
        "[[ $(complete -p landbridge) == *_landbridge* ]]"
    )
    command = ["bash", "--norc", "-euc", program, "bash", "landbridge", *words]
    done = subprocess.run(command, cwd=scripts, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def fish(scripts: Path, *words: str) -> set[str]:
    program = f"source ./landbridge.fish; complete -C 'landbridge {' '.join(words)}'"
    done = subprocess.run(["fish", "--no-config", "-c", program], cwd=scripts, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {line.partition("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ver"], {"verify", "verify-signature"}),
        (["compile", "--mode", ""], {"auto", "strict"}),
        (["run", "detector.lbr", "--fill", "z"], {"zeros"}),
        (["run", "--simulate", "at"], {"atlas"}),
        (["selftest", "--sim"], {"--simulate"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["run", "det"], {"detector.lbr"}),
        (["sign", "x.lbr", "--key", "det"], {"detector.lbr"}),
        (["run", "--repeat", ""], set()),
    ],
)
def test_bash_completes(words: list[str], expected: set[str], scripts: Path) -> None:
    assert bash(scripts, *words) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ver"], {"verify", "verify-signature"}),
        (["compile", "--mode", "''"], {"auto", "strict"}),
        (["run", "--simulate", "at"], {"atlas"}),
        (["selftest", "--sim"], {"--simulate"}),
        (["run", "det"], {"detector.lbr"}),
    ],
)
def test_fish_completes(words: list[str], expected: set[str], scripts: Path) -> None:
    found = fish(scripts, *words)
    assert expected <= (found or fish(scripts, *(word.strip("'") for word in words)))


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_script(scripts: Path) -> None:
    program = "autoload -Uz compinit; compinit -u -D; source ./landbridge.zsh; print $_comps[landbridge]"
    done = subprocess.run(["zsh", "-f", "-c", program], cwd=scripts, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "_landbridge\n", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_and_option_is_in_every_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for verb in described(parser()):
        assert verb.name in script
        for option in verb.options:
            for name in option.names:
                bare = name.lstrip("-") if shell == "fish" else name
                assert bare in script, f"{verb.name} {name}"
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"] == script


def test_files_are_completed_where_files_are_taken() -> None:
    takes = {(verb.name, option.names[-1]): option.takes for verb in described(parser()) for option in verb.options}
    assert takes["compile", "--output"] == takes["run", "--input"] == takes["verify", "--picture"] == "file"
    assert takes["compile", "--dump-ir"] == takes["run", "--replay"] == "file"
    assert takes["compile", "--dim"] == takes["run", "--repeat"] == takes["verify", "--rtol"] == "anything"
    assert takes["run", "--json"] == "nothing"
