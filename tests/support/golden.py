"""Artifacts that are kept in ``tests/golden``, one folder for each version of the format that was ever written.

``python -m support.golden FOLDER NAME…`` (with ``tests`` and ``src`` on the path) writes those of the present format. A file that was
committed is never written again: what was once given to a user must go on loading.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

FOLDER = Path(__file__).resolve().parents[1] / "golden"

TARGET = "llvm -mcpu=x86-64"
"""Runs on every x86-64; only the C library's symbols bind it to a machine."""

Array = np.ndarray[Any, Any]

IMAGE = np.array([[1, -2, 3, 0.5], [0, 4, -1, 2], [2, 2, 2, 2]], np.float32)
"""What every golden artifact is run on: ``image``, float32 [n, 4]."""
WEIGHT = ((np.arange(16) % 5) - 2).astype(np.float32).reshape(4, 4) / 4

_SHAPE = ("float32", ("n", 4))


def _host() -> bytes:
    nodes = [node("MatMul", "image weight", "product"), node("Tanh", "product", "result")]
    return lb.compile(lb.from_onnx(small_model(nodes, {"image": _SHAPE}, {"result": _SHAPE}, {"weight": WEIGHT})), TARGET).to_bytes()


def _between(by: bytes, name: str, *others: lb.ExternModel) -> lb.Program:
    """Return ``-f(relu(image))`` with the blob ``by`` for f, and others that can stand in for it."""
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
    program = lb.from_onnx(small_model(nodes, {"image": _SHAPE}, {"result": _SHAPE}))
    return lb.replace(program, inputs=["clean"], outputs=["score"], by=[lb.ExternModel.from_bytes(by, name=name), *others])


def _sigmoid() -> Any:
    return small_model([node("Sigmoid", "clean", "score")], {"clean": _SHAPE}, {"score": _SHAPE})


def _atlas() -> bytes:
    return lb.compile(_between(make_om(_sigmoid(), gears=(1, 2, 4)), "middle.om"), TARGET).to_bytes()


def _onnxruntime() -> bytes:
    return lb.compile(_between(_sigmoid().SerializeToString(deterministic=True), "middle.onnx"), TARGET).to_bytes()


def _several() -> bytes:
    """Return one whose first blob is for another chip than that of the simulator."""
    other = lb.ExternModel.from_bytes(make_om(_sigmoid(), gears=(1, 2, 4)), name="for310.om")
    blob = make_om(_sigmoid(), gears=(1, 2, 4), soc="Ascend910B1")
    return lb.compile(_between(blob, "for910.om", other), TARGET).to_bytes()


def _tested() -> bytes:
    program = _between(make_om(_sigmoid(), gears=(1, 2, 4)), "middle.om")
    return lb.compile(program, TARGET, golden={"image": IMAGE}).to_bytes()


def _product() -> Array:
    return np.tanh(IMAGE @ WEIGHT)


def _negative_sigmoid() -> Array:
    return np.asarray(-1 / (1 + np.exp(-np.maximum(IMAGE, 0))))


GOLDEN: dict[str, tuple[Callable[[], bytes], Callable[[], Array], float]] = {
    "host": (_host, _product, 2e-6),
    "atlas": (_atlas, _negative_sigmoid, 2e-3),  # the simulated device computes in float16
    "onnxruntime": (_onnxruntime, _negative_sigmoid, 2e-6),
    "several": (_several, _negative_sigmoid, 2e-3),
    "tested": (_tested, _negative_sigmoid, 2e-3),
}
"""For each artifact how it is made, its result for `IMAGE` by its definition, and the absolute tolerance."""


def main(folder: Path, names: Sequence[str]) -> None:
    """Write golden artifacts, those that are not in ``folder`` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.lbr"
        if not path.exists():
            path.write_bytes(GOLDEN[name][0]())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
