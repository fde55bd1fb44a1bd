"""The examples in the docstrings of the reference run, on the demo's files."""

from __future__ import annotations

import doctest
import inspect
import re
from contextlib import chdir
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from support.iree_modules import add, vmfb
from support.pages import ROOT, demo
from support.tflite_models import dense

REFERENCE = sorted((ROOT / "docs/reference").glob("*.md"))

NOT_RUN = {
    "landbridge.CambriconRuntimeSubgraph": "a signature comes from the vendor's library, or from a sidecar",
    "landbridge.from_torch": "PyTorch is an extra; tests/models has it run",
    "landbridge.torch_operator": "PyTorch is an extra; tests/models has it run",
}
"""What has an example that is shown and not run, and why."""


def documented() -> dict[str, Any]:
    """Return the objects and modules in the reference, by their names."""
    names = [name for page in REFERENCE for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)]
    return {name: _find(name) for name in names}


def _find(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        home, _, attribute = name.rpartition(".")
        return getattr(_find(home), attribute)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What examples find: the package, the demo's model, images and artifact."""
    pytest.importorskip("openvino", reason="needs OpenVINO")
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    folder = tmp_path_factory.mktemp("examples")
    demo(("demo", "--keep", "digits"), folder)
    model = lb.from_onnx(folder / "digits/digits.onnx")
    (folder / "net.tflite").write_bytes(dense(np.ones((4, 2), np.float32), {"x": (1, 4)}, ("y", (1, 2))))
    (folder / "net.vmfb").write_bytes(vmfb(add()))
    session = lb.load(folder / "digits/digits.lbr", simulate=["atlas"])
    images = np.load(folder / "digits/images.npz")["image"]
    return {"lb": lb, "np": np, "model": model, "compiled": lb.compile(model), "session": session, "images": images, "folder": folder}


@pytest.mark.parametrize("name", documented())
def test_the_examples_of(name: str, names: dict[str, Any]) -> None:
    _run_examples(documented()[name], name, names)


def test_the_example_of_the_module_api(names: dict[str, Any]) -> None:
    _run_examples(lb.nn, "landbridge.nn", names, recurse=False)


def _run_examples(thing: Any, name: str, names: dict[str, Any], *, recurse: bool = True) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    told: list[str] = []
    home = thing if inspect.ismodule(thing) else import_module(thing.__module__)
    with chdir(names["folder"]):
        for test in doctest.DocTestFinder(recurse=recurse).find(thing, name, globs={**vars(home), **names}):
            runner.run(test, out=told.append)
            skipped = any(doctest.SKIP in example.options for example in test.examples)
            assert not skipped or test.name in NOT_RUN
    assert not told, "".join(told)


def test_every_public_name_has_an_example() -> None:
    assert [name for name in lb.__all__ if name != "__version__" and ">>>" not in (inspect.getdoc(getattr(lb, name)) or "")] == []


def test_an_example_is_a_dialogue() -> None:
    found = [name for name, thing in documented().items() for text in _docstrings(thing) if "Example:" in text and ">>>" not in text]
    assert not found, "write examples with >>>, so that they run"


def _docstrings(thing: Any) -> list[str]:
    own = [thing, *(vars(thing).values() if inspect.isclass(thing) or inspect.ismodule(thing) else ())]
    return [part.__doc__ or "" for part in own if inspect.isroutine(part) or inspect.isclass(part)]
