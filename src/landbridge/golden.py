"""Make what an artifact tests itself with: inputs, and what the reference, the ONNX model, makes of them.

Kept are the outputs and every value at the border of an offline model that the model has under its name; `landbridge.selftest` runs
them where there is neither the compiler nor the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.ir.program import Program
from landbridge.reference import Reference
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.gate import Gate
from landbridge.runtime.golden import SECTION, is_kept, pack
from landbridge.runtime.verdict import compared_names

Array = NDArray[Any]
Inputs = Mapping[str, Any]


def with_golden(artifact: Artifact, program: Program, golden: Inputs | Sequence[Inputs], model: str | Path | None) -> Artifact:
    """Return the artifact with cases for a self-test.

    Args:
        golden: the inputs of a run, or of several, as for `Session.run`.
        model: the reference; by default the ONNX model that the program came from.

    Raises:
        UnsupportedError: there is no reference, or an input cannot be kept.
        InputError: the inputs do not fit.
        ModelError: the reference cannot be read or run on these inputs.
    """
    if model is None and program.source is None:
        raise UnsupportedError(
            "golden values need a reference, and this program is not from an ONNX model",
            hint="give golden_reference='model.onnx', a model that means the same",
            code="LB2313",
        )
    reference = Reference(model) if model is not None else Reference(program.source or b"", artifact.name)
    names = [name for name in compared_names(artifact.plan) if name in reference.names]
    skipped = {name: f"{reference.title} has no such value" for name in compared_names(artifact.plan) if name not in reference.names}
    gate = Gate(artifact.plan, {})
    runs = []
    for inputs in [golden] if isinstance(golden, Mapping) else golden:
        gate.admit(inputs)
        given = {name: _kept(name, value) for name, value in inputs.items()}
        values = reference.run(given, names)
        skipped |= {name: f"{value.dtype} cannot be kept" for name, value in values.items() if not is_kept(value.dtype.name)}
        runs.append((given, {name: values[name] for name in names if is_kept(values[name].dtype.name)}))
    found, section = pack(f"{reference.by} with {reference.title}", runs, skipped)
    return replace(artifact, golden=found, sections={**artifact.sections, SECTION: section})


def _kept(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if not is_kept(array.dtype.name):
        raise UnsupportedError(f"{array.dtype} cannot be kept in an artifact", at=f"input '{name}'", code="LB2313")
    return array
