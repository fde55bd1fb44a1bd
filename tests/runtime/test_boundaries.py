"""What goes into offline models and comes out of them, copied out."""

from __future__ import annotations

import numpy as np

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.plan import LATE, Buffer, Extern
from support.plans import WEIGHTS, artifact, extern, plan, tensor
from support.sessions import Toys, device_session, host_session, image


def test_each_offline_model_tells_what_it_was_given_and_gave(toys: Toys) -> None:
    x = image(5)
    with device_session() as session:
        outputs, (boundary,) = session.boundaries({"x": x})
        again, _ = session.boundaries({"x": x + 1})
        np.testing.assert_array_equal(again["y"], 4 * (x + 1) + WEIGHTS)
        phases = session.phases()
    np.testing.assert_array_equal(outputs["y"], 4 * x + WEIGHTS)
    assert (boundary.step, boundary.model, boundary.device) == (2, "double.toy", "toy0")
    assert [(value.name, value.buffer) for value in (*boundary.inputs, *boundary.outputs)] == [("t", 2), ("u", 3)]
    np.testing.assert_array_equal(boundary.inputs[0].array, 2 * x)  # valid after the next run and after close
    np.testing.assert_array_equal(boundary.outputs[0].array, 4 * x)
    assert phases["execute"] > 0


def test_values_whose_shape_depends_on_the_data_are_among_them(toys: Toys) -> None:
    buffers = [tensor("x", "input"), Buffer("found", "cpu", "float32", (LATE,), "late")]
    what = plan(buffers, [Extern("nonzero", "cpu", (0,), (1,), ())], {"x": 0}, {"found": 1})
    with load(to_bytes(artifact(what, [extern("nonzero", "cpu")]))) as session:
        outputs, (boundary,) = session.boundaries({"x": np.array([[0, 1, 2]], "float32")})
    np.testing.assert_array_equal(boundary.outputs[0].array, [1, 2])
    np.testing.assert_array_equal(outputs["found"], [1, 2])


def test_a_model_without_offline_models_has_no_boundaries() -> None:
    with host_session() as session:
        outputs, boundaries = session.boundaries({"x": image(2)})
    np.testing.assert_array_equal(outputs["y"], 2 * (image(2) + WEIGHTS))
    assert boundaries == ()
