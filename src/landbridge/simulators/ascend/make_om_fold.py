"""Fold each BatchNormalization into the convolution before it, as the vendor's tool does: one operator, and less rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from landbridge.runtime.errors import UnsupportedError
from landbridge.simulators.ascend.make_om_onnx import Prepared


def fold_batch_normalization(model: Prepared) -> Prepared:
    """Return ``model`` with every BatchNormalization folded whose input is a convolution's result that nothing else reads."""
    uses = Counter([name for node in model.nodes for name in node.input] + list(model.outputs))
    constants = dict(model.constants)
    convolutions: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    for node in model.nodes:
        found = convolutions.get(node.input[0]) if node.op_type == "BatchNormalization" and uses[node.input[0]] == 1 else None
        if found is None or any(name not in constants for name in node.input[1:5]):
            nodes[node.output[0]] = node
            if node.op_type == "Conv" and all(name in constants for name in node.input[1:] if name):
                convolutions[node.output[0]] = node
            continue
        nodes[found.output[0]] = folded = _fold(found, node, constants)
        nodes = {key if key != found.output[0] else node.output[0]: value for key, value in nodes.items()}
        convolutions[node.output[0]] = folded
    return replace(model, nodes=tuple(nodes.values()), constants=constants)


def _fold(convolution: Any, node: Any, constants: dict[str, NDArray[Any]]) -> Any:
    """Return the convolution that makes the result of ``node``; its filter and bias become new constants."""
    factor, term = normalization(node, constants)
    filter_ = constants[convolution.input[1]]
    bias = constants[convolution.input[2]].astype(np.float64) if len(convolution.input) > 2 and convolution.input[2] else 0.0
    names = [f"{convolution.input[1]}__{node.output[0]}", f"{node.output[0]}__bias"]
    constants[names[0]] = (filter_ * factor.reshape(-1, 1, 1, 1)).astype(filter_.dtype)
    constants[names[1]] = (bias * factor + term).astype(filter_.dtype)
    folded = NodeProto()
    folded.CopyFrom(convolution)
    del folded.input[1:], folded.output[:]
    folded.input.extend(names)
    folded.output.append(node.output[0])
    return folded


def normalization(node: Any, constants: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the factor and the term, one for each channel, that a BatchNormalization comes down to.

    Raises:
        UnsupportedError: its parameters are not constants.
    """
    if any(name not in constants for name in node.input[1:5]):
        raise UnsupportedError("its parameters are not constants", code="LB2311")
    scale, bias, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:5])
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    factor = scale / np.sqrt(variance + epsilon)
    return factor, bias - mean * factor
