from __future__ import annotations

import pytest

from landbridge.frontends import nn
from landbridge.runtime.errors import ModelError


def test_shapes_that_do_not_fit_are_told_with_the_line_of_the_user() -> None:
    class Net(nn.Module):
        def forward(self, x, y):  # type: ignore[no-untyped-def]
            return x + y

    with pytest.raises(ModelError) as caught:
        nn.from_module(Net(), {"x": nn.TensorSpec((2, 4), "float32"), "y": nn.TensorSpec((3, 4), "float32")})
    assert str(caught.value).startswith("Net: test_traced_error.py:")
    assert "add: the first input shape at dim 0 is 2 and the second input shape at dim 0 is 3" in str(caught.value)
    assert caught.value.hint == "in the line: return x + y"


def test_an_error_of_the_users_own_goes_through() -> None:
    class Net(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]
            raise KeyError("missing")

    with pytest.raises(KeyError, match="missing"):
        nn.from_module(Net(), {"x": nn.TensorSpec((2, 4), "float32")})
