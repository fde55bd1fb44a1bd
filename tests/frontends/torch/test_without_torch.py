"""What is said where PyTorch is not installed."""

from __future__ import annotations

import sys

import pytest

import landbridge as lb
from landbridge.runtime.errors import UnsupportedError


def test_what_needs_pytorch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # whether it is installed or not
    with pytest.raises(
        UnsupportedError, match=r"lb.from_torch needs PyTorch, which is not installed\n  hint: pip install 'landbridge\[torch\]'"
    ):
        lb.from_torch(object())
    blob = lb.ExternModel("atlas", b"blob", lb.Signature((lb.Port("x", "float32", (1,)),), (lb.Port("y", "float32", (1,)),)))
    with pytest.raises(UnsupportedError, match=r"lb\.torch_operator needs PyTorch, which is not installed"):
        lb.torch_operator(blob)
