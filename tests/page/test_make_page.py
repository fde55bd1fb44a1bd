"""The page as a file: whole, self-contained, and of this artifact."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import landbridge as lb
from landbridge.page import make_page
from landbridge.runtime import artifact as artifacts
from landbridge.runtime.description import SECTION, Description, Lifetime
from landbridge.runtime.errors import ArtifactCorrupt, UsageError
from support.plans import artifact, plan, tensor

ROOT = Path(__file__).parents[2]


def data_of(html: str) -> Any:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[0])


def test_it_asks_for_nothing_and_runs_nothing_of_the_users(compiled: lb.Compiled) -> None:
    html = make_page(compiled.artifact, title="</title><script>alert(1)</script>")
    assert not re.findall(r"(?:src|href|url|action)\s*[=(]", html)
    assert "://" not in html
    assert html.count("<script") == html.count("</script>") == 2
    assert "<b>clean</b>" not in html
    assert data_of(html)["title"] == "</title><script>alert(1)</script>"
    assert "{{" not in html.replace("{{title}}", "")


def test_text_in_braces_is_the_users_and_not_a_place_in_the_page(compiled: lb.Compiled) -> None:
    html = make_page(compiled.artifact, title="{{data}}{{script}}")
    assert data_of(html)["title"] == "{{data}}{{script}}"
    assert html.count('"use strict";') == 1


def test_the_same_artifact_gives_the_same_page(compiled: lb.Compiled) -> None:
    assert make_page(compiled.artifact, title="x") == make_page(compiled.artifact, title="x")


def test_crossings_and_conversions_lead_to_their_operators(compiled: lb.Compiled) -> None:
    data = data_of(make_page(compiled.artifact, title="x"))
    tables = {table["name"]: table for table in data["tables"]}
    kinds = {name: [data["operators"][o][0] for o in tables[name]["operators"]] for name in ("crossings", "casts", "models")}
    assert kinds == {"crossings": ["copy", "copy"], "casts": ["cast", "cast"], "models": ["extern"]}
    assert all(len(row) == len(table["columns"]) for table in data["tables"] for row in table["rows"])


@pytest.mark.parametrize("name", ["atlas", "host", "onnxruntime"])
def test_an_artifact_without_a_description_is_shown_by_its_plan(name: str) -> None:
    kept = artifacts.read(ROOT / f"tests/golden/1.0/{name}.lbr")
    data = data_of(make_page(kept, title=name))
    assert [kind for kind, *_ in data["operators"]] == [{"segment": "host"}.get(step.kind, step.kind) for step in kept.plan.steps]
    assert [entry[0] for entry in data["inputs"]] == ["image"]


def test_a_description_of_another_plan_is_refused(compiled: lb.Compiled) -> None:
    found = Description.of(compiled.artifact.sections)
    wrong = replace(found, operators=(replace(found.operators[0], step=99), *found.operators[1:]))
    other = replace(compiled.artifact, sections={**compiled.artifact.sections, SECTION: wrong.to_bytes()})
    with pytest.raises(ArtifactCorrupt, match="'<b>clean</b>' is of step 99, the plan has 5"):
        make_page(other, title="x")


def test_a_part_of_a_buffer_is_shown_where_it_lies_in_the_arena() -> None:
    buffers = [tensor("whole", "arena", offset=128), tensor("right", "alias", base=0, offset=["*", "n", 64])]
    found = Description(lifetimes=(Lifetime(1, 2, 5),))
    made = replace(artifact(plan(buffers, [], {}, {})), sections={SECTION: found.to_bytes()})
    (shown,) = data_of(make_page(made, title="x"))["buffers"]
    assert shown == ["right", "cpu", "float32", ["n", 3], ["+", ["*", "n", 64], 128], buffers[1].nbytes, 2, 5]


@pytest.mark.parametrize(
    "trace", [{}, [], {"traceEvents": [], "otherData": {"digest": "00"}}, {"traceEvents": 3, "otherData": {"digest": ""}}]
)
def test_what_is_no_trace_of_it_is_refused(compiled: lb.Compiled, trace: Any) -> None:
    with pytest.raises(UsageError, match="trace"):
        make_page(compiled.artifact, title="x", trace=trace)
