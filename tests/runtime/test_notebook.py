"""What notebooks show: HTML of tables, in which the user's text is text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime import notebook
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

EVIL = '<script>alert(1)</script>&"'
SHAPE = ("float32", ("n", 4))


class Elements(HTMLParser):
    """The elements of a text, and its words; unclosed ones are an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.found.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> Elements:
    found = Elements()
    found.feed(html)
    found.close()
    assert found.open == []
    assert found.found <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "b"}
    return found


@pytest.fixture(scope="module")
def compiled() -> lb.Compiled:
    nodes = [node("Relu", "image", EVIL), node("Sigmoid", EVIL, "score"), node("QuickGelu", "score", "found", domain="com.microsoft")]
    middle = small_model([node("Sigmoid", "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    by = lb.ExternModel.from_bytes(make_om(middle, gears=(1, 2)), name=f"{EVIL}.om")
    model = lb.from_onnx(small_model(nodes, {"image": SHAPE}, {"found": SHAPE}), name=EVIL)
    return lb.compile(lb.replace(model, inputs=[EVIL], outputs=["score"], by=by))


def test_every_object_is_shown_with_its_names_as_text(compiled: lb.Compiled) -> None:
    model = next(extern for extern in compiled.program.externs.values() if extern.vendor == "atlas")
    with compiled.load(simulate=["atlas"]) as session:
        session.run({"image": np.ones((2, 4), np.float32)})
        for thing, words in (
            (compiled.report, [EVIL, f"{EVIL}.om", "cpu → atlas0", "n*16"]),
            (compiled.program, ["image", "found", f"{EVIL}.om", "atlas on atlas0"]),
            (compiled, [EVIL, "n*16"]),
            (session, [f"{EVIL}: READY, simulated: atlas", "float32 [n, 4]", "atlas on atlas0"]),
            (model, ["atlas"]),
            (model.signature, ["batch gears 1, 2", "float32 [batch, 4]"]),
        ):
            shown = read(thing._repr_html_())
            for word in words:
                assert any(word in text for text in shown.words), (word, shown.words)


def test_reprs_are_a_line_that_says_what_it_is(compiled: lb.Compiled) -> None:
    model = next(extern for extern in compiled.program.externs.values() if extern.vendor == "atlas")
    assert repr(compiled.report).startswith("Report(2 crossings of at least 2, 0 casts, 1 fallbacks; n*32 bytes cross in a run")
    assert repr(compiled.program).startswith(f"Program('{EVIL}', image: float32 [n, 4] -> found, ")
    assert repr(model).startswith(f"ExternModel('{EVIL}.om', atlas, {len(model.data)} bytes, Signature(")
    assert repr(model.signature).endswith("batch gears 1, 2)")
    assert repr(compiled.artifact).startswith(f"Artifact('{EVIL}', 5 steps, ")
    with compiled.load(simulate=["atlas"]) as session:
        assert repr(session).endswith(", simulated: atlas)")
        assert "READY, image: float32 [n, 4] -> found: float32 [" in repr(session)
    assert max(len(repr(thing)) for thing in (compiled, compiled.program, model)) < 600


def test_of_a_long_table_the_first_rows_are_shown() -> None:
    html = notebook.table("many", ("n",), [(n,) for n in range(1000)])
    assert html.count("<tr>") == 51
    assert "the first 50 of 1000" in html
    assert notebook.table("none", ("n",), []) == ""
