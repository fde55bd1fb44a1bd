"""Export an architecture to ONNX, static or with open dimensions."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from models.architecture import Architecture, Sizes, seeded
from models.non_max_suppression import TRANSLATIONS


def export(architecture: Architecture, *, dynamic: bool) -> Any:
    """Return the `ModelProto` that PyTorch's exporter makes of a network with seeded weights.

    Args:
        dynamic: whether the dimensions that the architecture names stay open.
    """
    example = architecture.inputs(architecture.sizes)
    shapes = {name: dict(architecture.dynamic.get(name, {})) for name in example} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            seeded(architecture.network),
            tuple(example.values()),
            input_names=list(example),
            output_names=list(architecture.outputs),
            dynamic_shapes=tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) or None for axes in shapes.values()) if shapes else None,
            custom_translation_table=TRANSLATIONS,
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


def arrays(architecture: Architecture, sizes: Sizes) -> dict[str, Any]:
    """Return inputs as NumPy arrays, by name."""
    return {name: value.numpy() for name, value in architecture.inputs(sizes).items()}
