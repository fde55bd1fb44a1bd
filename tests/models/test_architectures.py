"""Networks exported by PyTorch give what ONNX Runtime gives, all extents of open dimensions from one artifact."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import landbridge as lb

pytest.importorskip("torch", reason="PyTorch is not installed: make test-models installs it")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript: make test-models installs it")

from models.architecture import Architecture
from models.catalogue import CATALOGUE
from models.export import arrays, export

pytestmark = pytest.mark.long


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("architecture", CATALOGUE, ids=lambda found: found.name)
def test_an_exported_architecture_is_right(architecture: Architecture, dynamic: bool) -> None:
    model = export(architecture, dynamic=dynamic)
    compiled = lb.compile(lb.from_onnx(model, name=architecture.name))
    session = compiled.load()
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for sizes in (architecture.sizes, *(architecture.more if dynamic else ())):
        inputs = arrays(architecture, sizes)
        expected = dict(zip(architecture.outputs, reference.run(None, inputs), strict=True))
        found = session.run(inputs)
        for name, wanted in expected.items():
            assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape), (name, sizes)
            atol = architecture.atol * float(np.abs(wanted).max(initial=0))
            np.testing.assert_allclose(found[name], wanted, architecture.rtol, atol, err_msg=f"{name} at {sizes}")
    assert not compiled.report.fallbacks
