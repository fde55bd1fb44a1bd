from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: ``model.onnx`` (Relu, Sigmoid, Neg), ``middle.om`` for its Sigmoid, the artifact of both, ``model.lbr``, and ``host.lbr``,
    the artifact of the model alone.
    """
    folder = tmp_path_factory.mktemp("files")
    shape = ("float32", ("n", 4))
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
    model = small_model(nodes, {"image": shape}, {"result": shape})
    middle = small_model([node("Sigmoid", "clean", "score")], {"clean": shape}, {"score": shape})
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "middle.om").write_bytes(make_om(middle, gears=(1, 2, 4)))
    region = f"atlas0:{folder / 'middle.om'};inputs=clean;outputs=score"
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "model.lbr"), "--replace", region]) == 0
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "host.lbr")]) == 0
    return folder
