"""The example in the help of every verb works, typed as it stands there, and prints with ``--json`` what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om
from support.example_files import STATUS, example, verbs_in_order, write_files
from support.small_onnx import never_native, node, small_model

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text("utf-8")
SHAPES: dict[str, Any] = {
    name: json.loads(text) for name, text in re.findall(r"^## ([a-z-]+)\n(?:(?!^## )[^\n]*\n)*?```json\n(.*?)^```$", PAGE, re.M | re.S)
}


def misfits(value: Any, shape: Any, at: str) -> list[str]:
    """Return in what a value is not of a shape of the page."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{at}: no list"]
        return [f"{at}[{i}]: {item!r}" for i, item in enumerate(value) if all(misfits(item, one, at) for one in shape)]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{at}: no object"]
        known = {name.removesuffix("?"): one for name, one in shape.items()}
        missing = [f"{at}.{name} is missing" for name in shape if not name.endswith("?") and name != "*" and name not in value]
        unknown = [f"{at}.{name} is not on the page" for name in value if name not in known and "*" not in known]
        inner = [
            text
            for name, item in value.items()
            if name in known or "*" in known
            for text in misfits(item, known.get(name, known.get("*")), f"{at}.{name}")
        ]
        return missing + unknown + inner
    if shape.endswith(" or null"):
        return [] if value is None else misfits(value, shape.removesuffix(" or null"), at)
    if shape.startswith("<"):
        return misfits(value, SHAPES[shape.strip("<>")], at)
    return [] if is_of(value, shape) else [f"{at}: {value!r}, expected {shape}"]


def is_of(value: Any, shape: str) -> bool:
    if shape == "size":
        return is_of(value, "integer") or isinstance(value, str | list)
    if shape == "number":
        return is_of(value, "integer") or isinstance(value, float) or value in ("nan", "inf", "-inf")
    if shape == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return {"string": isinstance(value, str), "boolean": isinstance(value, bool), "any": True}[shape]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_files()
    return tmp_path


def test_the_examples_of_all_verbs_work_one_after_the_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in verbs_in_order():
        words = example(verb, capsys)
        assert main(words) == STATUS.get(verb, 0), f"{words}\n{capsys.readouterr().err}"


def test_json_is_what_its_page_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for verb in verbs_in_order():
        words = example(verb, capsys)
        assert main([*words, "--json"]) == STATUS.get(verb, 0), words
        wrong += misfits(json.loads(capsys.readouterr().out), SHAPES[verb], verb)
    for words, shape in ((["inspect", "detector.lbr"], "inspect-artifact"), (["run", "none.lbr"], "error")):
        main([*words, "--json"])
        wrong += misfits(json.loads(capsys.readouterr().out), SHAPES[shape], shape)
    assert not wrong, "docs/json.md:\n" + "\n".join(wrong)


def test_every_verb_is_on_the_page() -> None:
    assert {*verbs_in_order(), "demo", "error"} <= set(SHAPES)


@pytest.mark.parametrize(
    ("value", "shape", "count"),
    [
        ({"a": 1}, {"a": "integer"}, 0),
        ({"a": True}, {"a": "integer"}, 1),
        ({}, {"a": "integer"}, 1),
        ({}, {"a?": "integer"}, 0),
        ({"b": 1}, {}, 1),
        ({"b": "x"}, {"*": "string"}, 0),
        ([1, "x"], ["integer"], 1),
        ([1, "x"], ["integer", "string"], 0),
        (None, "string or null", 0),
        (None, "string", 1),
        ("nan", "number", 0),
        ({"callers": 1}, "<concurrency>", 2),
    ],
)
def test_what_does_not_fit_is_found(value: Any, shape: Any, count: int) -> None:
    assert len(misfits(value, shape, "x")) == count


def test_reports_and_choices_are_what_the_page_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the examples do not have: conversions, fallbacks, a blob that cannot run here."""
    kinds = {"image": ("uint8", ("n", 4)), "square": ("float32", (2, 2))}
    nodes = [node("Cast", "image", "clean", to=1), node("Sigmoid", "clean", "features"), never_native("square", "area")]
    model = small_model(nodes, kinds, {"features": ("float32", ("n", 4)), "area": ("float32", (2, 2))})
    Path("several.onnx").write_bytes(model.SerializeToString())
    part = small_model([nodes[1]], {"clean": ("float32", ("n", 4))}, {"features": ("float32", ("n", 4))})
    for soc in ("Ascend910B", "Ascend310"):
        Path(f"{soc}.om").write_bytes(make_om(part, gears=(1, 2), soc=soc, input_dtype="float16"))
    region = "atlas0:Ascend910B.om|atlas0:Ascend310.om;inputs=clean;outputs=features"
    assert main(["compile", "several.onnx", "-o", "several.lbr", "--replace", region]) == 0
    capsys.readouterr()
    assert main(["report", "several.lbr", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["casts"]
    assert report["fallbacks"]
    assert main(["run", "several.lbr", "--fill", "ones", "--simulate", "atlas", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert any(choice["passed_over"] for choice in run["choices"])
    assert [*misfits(report, SHAPES["report"], "report"), *misfits(run, SHAPES["run"], "run")] == []
