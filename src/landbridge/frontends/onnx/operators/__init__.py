"""Operators that are imported here and not by TVM: what it lacks, takes wrong, or takes in some forms only.

A family of operators is a file with an ``OPERATORS`` table of rules (`landbridge.frontends.onnx.operators.call.Rule`).
"""

from __future__ import annotations

from landbridge.frontends.onnx.operators import (
    casts,
    elementwise,
    fourier,
    generators,
    linear_algebra,
    picking,
    quantized,
    recurrent,
    reductions,
    resize,
    scans,
    shaping,
    slices,
    sliding,
    top_k,
    unique,
)
from landbridge.frontends.onnx.operators.call import Rule

FAMILIES = (
    casts,
    elementwise,
    fourier,
    generators,
    linear_algebra,
    picking,
    quantized,
    recurrent,
    reductions,
    resize,
    scans,
    shaping,
    slices,
    sliding,
    top_k,
    unique,
)
"""Every family; no two have a rule for the same operator."""

RULES: dict[str, Rule] = {operator: rule for family in FAMILIES for operator, rule in family.OPERATORS.items()}
"""The rule of each operator, by its type as `landbridge.frontends.onnx.graph.Node.type` has it."""
