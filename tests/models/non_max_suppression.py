"""ONNX's NonMaxSuppression as a PyTorch operator, so that a network has it in its graph."""

from __future__ import annotations

from typing import Any

import onnxscript
import torch

_op = onnxscript.opset18


@torch.library.custom_op("landbridge_test::non_max_suppression", mutates_args=())
def suppressed(boxes: torch.Tensor, scores: torch.Tensor, most: int, overlap: float, least: float) -> torch.Tensor:
    """Return the chosen boxes as int64 [chosen, 3]: batch, class, box.

    Args:
        boxes: float32 [batch, boxes, 4], two corners.
        scores: float32 [batch, classes, boxes].
    """
    rows = [
        [batch, kind, index]
        for batch in range(boxes.shape[0])
        for kind in range(scores.shape[1])
        for index in _chosen(boxes[batch], scores[batch, kind], most, overlap, least)
    ]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def _chosen(boxes: Any, scores: Any, most: int, overlap: float, least: float) -> list[int]:
    kept: list[int] = []
    for index in torch.argsort(scores, descending=True, stable=True).tolist():
        if scores[index] > least and len(kept) < most and all(_overlap(boxes[index], boxes[other]) <= overlap for other in kept):
            kept.append(index)
    return kept


def _overlap(a: Any, b: Any) -> float:
    size = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    return float(size / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - size))


@suppressed.register_fake
def _(boxes: torch.Tensor, scores: torch.Tensor, most: int, overlap: float, least: float) -> torch.Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)


def _to_onnx(boxes: Any, scores: Any, most: int, overlap: float, least: float) -> Any:
    limits = [_op.Constant(value_ints=[most]), _op.Constant(value_floats=[overlap]), _op.Constant(value_floats=[least])]
    return _op.NonMaxSuppression(boxes, scores, *limits)


TRANSLATIONS = {torch.ops.landbridge_test.non_max_suppression.default: _to_onnx}
"""What the exporter writes for it."""
