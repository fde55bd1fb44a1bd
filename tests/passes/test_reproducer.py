"""A failed pass in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import tvm

from landbridge.passes import run_reproducer
from landbridge.passes.base import Pipeline
from landbridge.passes.elide_copies import ElideCopies
from landbridge.passes.insert_copies import InsertCopies
from landbridge.passes.reproducer import read_reproducer, write_reproducer
from landbridge.runtime.errors import PassError, UsageError
from support.small_programs import SmallProgram


@dataclass(frozen=True)
class Fails:
    """A pass with a bug, called like the real one, so that the replay runs the one that is mended."""

    name: ClassVar[str] = "insert-copies"
    phase: ClassVar[str] = "imported"

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        raise ZeroDivisionError("two\nlines")


def half_placed() -> tvm.IRModule:
    """A program whose operator reads from two devices: Relax's own parser would refuse it."""
    program = SmallProgram(placed=True)
    program.output(program.add("z", program.input("x", device="atlas0"), program.add("y", program.input("w"), program.constant())))
    return program.module()


def test_a_reproducer_replays_the_rest_of_the_pipeline(tmp_path: Path) -> None:
    module = half_placed()
    with pytest.raises(PassError):
        Pipeline((Fails(), ElideCopies()), tmp_path).run(module)
    expected = Pipeline((InsertCopies(), ElideCopies())).run(module)
    tvm.ir.assert_structural_equal(run_reproducer(tmp_path / "reproducer_insert-copies.py"), expected)


def test_it_has_the_module_before_the_pass_the_pipeline_and_the_error(tmp_path: Path) -> None:
    path = write_reproducer(half_placed(), "hoist-casts{max-depth=4},elide-copies", ZeroDivisionError("two\nlines"), tmp_path / "new")
    assert path == tmp_path / "new" / "reproducer_hoist-casts.py"
    assert path.read_text().startswith(
        "# a reproducer: landbridge reproduce <this file>\n"
        "# pipeline: hoist-casts{max-depth=4},elide-copies\n"
        "# it failed with\n"
        "#   ZeroDivisionError: two\n"
        "#   lines\n"
    )
    module, pipeline = read_reproducer(path)
    tvm.ir.assert_structural_equal(module, half_placed())
    assert pipeline == "hoist-casts{max-depth=4},elide-copies"


def test_without_a_folder_it_goes_to_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = write_reproducer(half_placed(), "elide-copies", KeyError("x"), None)
    assert path.parent.parent == tmp_path


@pytest.mark.parametrize("text", ["", "print('hello')\n", "# a reproducer: and no more\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.py"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        run_reproducer(path)
    assert caught.value.message == "not a reproducer of a failed pass"


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = write_reproducer(half_placed(), "elide-copies", KeyError("x"), tmp_path)
    path.write_text(path.read_text().replace("R.add(", "R.add(("))
    with pytest.raises(UsageError, match="the module in it does not parse"):
        run_reproducer(path)
