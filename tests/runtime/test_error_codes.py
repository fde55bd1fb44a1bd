"""Error codes: every error has one, every code is explained, and what was released keeps its meaning."""

from __future__ import annotations

import ast
import pickle
import re
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from landbridge.runtime import error_codes
from landbridge.runtime.error_table import TABLE
from landbridge.runtime.errors import ArtifactCorrupt, DeviceLost, InputError, LandbridgeError, UsageError
from support.pages import UPDATE, updating

ROOT = Path(__file__).parents[2]
SOURCES = ("runtime", "ir", "passes", "codegen", "src/landbridge", "examples/vendor_plugin")
CLASSES = {kind.__name__: kind for kind in error_codes.kinds().values()}


@cache
def calls() -> list[tuple[str, str, str | None]]:
    """Return every place that makes an error: where, the class, and the code that it names."""
    return list(_calls())


def _calls() -> Iterator[tuple[str, str, str | None]]:
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = ast.unparse(found.func).rpartition(".")[2] if isinstance(found, ast.Call) else ""
                if isinstance(found, ast.Call) and name in CLASSES:
                    named = [word.value for word in found.keywords if word.arg == "code"]
                    code = ast.unparse(named[0]).strip("'") if named else None
                    yield f"{path.relative_to(ROOT)}:{found.lineno}", name, code


def test_every_error_that_is_raised_has_a_code_that_is_explained() -> None:
    known, wrong, count = error_codes.error_codes(), [], 0
    for place, name, given in calls():
        count += 1
        own = CLASSES[name].code
        code = own if given in (None, "error.code") else str(given)  # that of its class, or of the error that it passes on
        if code not in known:
            wrong.append(f"{place}: {code} is not in runtime/error_table.py: add a paragraph for it there")
        elif code[:4] != own[:4]:
            wrong.append(f"{place}: {code} is not of {name}, whose codes begin with {own[:4]}")
    assert count > 400, "the errors were not found"
    assert not wrong, "\n".join(wrong)


def test_every_code_is_raised_somewhere() -> None:
    raised = {code for _, _, code in calls()} | {kind.code for kind in CLASSES.values()}
    kept = {entry.code for entry in error_codes.error_codes().values() if "(not raised any more)" in entry.symptom}
    assert set(error_codes.error_codes()) - raised == kept


def test_every_class_has_a_code_of_its_own() -> None:
    assert len(error_codes.kinds()) == len(CLASSES)
    assert all(re.fullmatch(r"LB\d\d00", code) for code in error_codes.kinds())
    assert set(error_codes.kinds()) <= set(error_codes.error_codes())


def test_a_class_outside_of_this_tree_has_its_parents_code() -> None:
    class PluginLost(DeviceLost):
        """Of a vendor's plug-in."""

    assert PluginLost("gone").code == DeviceLost.code == "LB4100"


def test_the_table_is_well_formed() -> None:
    paragraphs = TABLE.strip().split("\n\n")
    codes = list(error_codes.error_codes())
    assert len(paragraphs) == len(codes), "a paragraph is not code and symptom, cause, fix"
    assert codes == sorted(codes)
    for entry in error_codes.error_codes().values():
        assert all(text.strip() and text.endswith(".") for text in (entry.symptom, entry.cause, entry.fix)), entry.code
        assert entry.kind.__name__ in CLASSES


def test_a_code_is_explained_however_it_is_written() -> None:
    assert error_codes.explain("lb1203") == error_codes.explain("1203") == error_codes.explain("LB1203")
    assert error_codes.explain("LB3102").kind is ArtifactCorrupt
    with pytest.raises(UsageError, match="there is no error code 'LB9999'") as caught:
        error_codes.explain("LB9999")
    assert caught.value.code == "LB1116"


def test_a_code_is_shown_in_a_traceback_and_is_no_part_of_the_message() -> None:
    error = InputError("float64 [2], expected float32 [2]", at="input 'x'", hint="convert it", code="LB1203")
    assert (error.code, str(error)) == ("LB1203", "input 'x': float64 [2], expected float32 [2]\n  hint: convert it")
    assert traceback.format_exception_only(error)[-1].strip().endswith("code: LB1203 (landbridge explain LB1203)")
    assert InputError("wrong").code == "LB1200"


def test_a_code_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(InputError("wrong", at="input 'x'", code="LB1203")))
    assert (copy.code, copy.at) == ("LB1203", "input 'x'")
    assert copy.__notes__ == ["  code: LB1203 (landbridge explain LB1203)"]


def test_the_page_has_every_code() -> None:
    path = ROOT / "docs/errors.md"
    if updating():
        path.write_text(error_codes.page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == error_codes.page(), f"set {UPDATE}=1 to write it"
    anchors = re.findall(r"^### (LB\d{4})$", error_codes.page(), re.M)
    assert anchors == list(error_codes.error_codes())


def test_the_root_of_the_tree_is_never_raised_as_such() -> None:
    assert [place for place, name, _ in calls() if name == LandbridgeError.__name__] == []
