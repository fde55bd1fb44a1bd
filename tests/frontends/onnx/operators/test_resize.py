"""Every mode of Resize, against onnx's reference evaluator."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from support.run_operators import One, check, evaluated
from support.small_onnx import node, small_model

RNG = np.random.default_rng(4)
DATA = RNG.standard_normal((1, 2, 5, 4)).astype(np.float32)
NOTHING = np.zeros(0, np.float32)
COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
UP, DOWN = [1, 1, 2.5, 1.5], [1, 1, 0.6, 0.5]


def case(name: str, *, scales: Any = None, sizes: Any = None, data: Any = DATA, tensors: bool = False, **attributes: Any) -> One:
    """Return a case; with ``tensors`` scales and sizes are given when it runs, else they are constants."""
    region = attributes.pop("region", None)
    inputs = [data, region, None if scales is None else np.array(scales, np.float32), None if sizes is None else np.array(sizes, np.int64)]
    constants = [] if tensors else [n for n in (1, 2, 3) if inputs[n] is not None]
    return One(name, "Resize", inputs, evaluated("Resize", inputs, **attributes), constants=constants, attributes=attributes)


@pytest.mark.parametrize("tensors", [False, True])
def test_every_kernel_in_every_coordinate_system(tensors: bool) -> None:
    cases = [
        case(f"{mode}_{way}_{name}", scales=scales, tensors=tensors, mode=mode, coordinate_transformation_mode=way)
        for mode, way, (name, scales) in itertools.product(("nearest", "linear", "cubic"), COORDINATES, (("up", UP), ("down", DOWN)))
        if not (way == "align_corners" and mode == "nearest")  # halves there are a matter of rounding
    ]
    check(cases, rtol=1e-4, atol=1e-5)


def test_every_way_to_be_the_nearest() -> None:
    cases = [
        case(f"{nearest}_{name}", scales=scales, mode="nearest", nearest_mode=nearest, coordinate_transformation_mode="half_pixel")
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for name, scales in (("up", [1, 1, 2, 3]), ("down", [1, 1, 0.5, 0.75]))
    ]
    check(cases)


@pytest.mark.parametrize("tensors", [False, True])
def test_sizes_axes_and_kept_ratios(tensors: bool) -> None:
    cases = [
        case("sizes", sizes=[1, 2, 7, 3], mode="linear", tensors=tensors),
        case("channels_last", sizes=[1, 3, 9, 4], mode="cubic", tensors=tensors),
        case("axes", sizes=[7, 8], axes=[3, 2], mode="linear", tensors=tensors),
        case("scales_of_axes", scales=[2.0, 0.5], axes=[2, 3], mode="nearest", tensors=tensors),
        *(
            case(f"{policy}_{n}", sizes=sizes, axes=[2, 3], keep_aspect_ratio_policy=policy, mode="nearest", tensors=tensors)
            for policy in ("not_larger", "not_smaller")
            for n, sizes in enumerate(([9, 9], [3, 2]))
        ),
    ]
    check(cases, rtol=1e-4, atol=1e-5)


def test_smooth_kernels_outsides_and_regions() -> None:
    region = np.array([0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7], np.float32)
    crop = "tf_crop_and_resize"
    cases = [
        *(case(f"smooth_{mode}_{n}", scales=s, mode=mode, antialias=1) for mode in ("linear", "cubic") for n, s in enumerate((UP, DOWN))),
        *(case(f"outside_{n}", scales=s, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5) for n, s in enumerate((UP, DOWN))),
        case("region", sizes=[1, 2, 3, 3], region=region, mode="linear", coordinate_transformation_mode=crop, extrapolation_value=10.0),
        case("halves", scales=UP, data=DATA.astype(np.float16), mode="nearest"),
    ]
    check(cases, rtol=1e-3, atol=1e-5)


def test_between_whole_numbers_it_is_left_to_onnxruntime() -> None:
    data = {"x": ("uint8", (1, 1, 2, 2))}
    nodes = [node("Resize", "x _ scales", "y", mode="linear")]
    model = small_model(nodes, data, {"y": ("uint8", None)}, {"scales": np.array([1, 1, 2.5, 2], np.float32)})
    (fallback,) = lb.from_onnx(model).fallbacks.values()
    assert fallback.reason == "between whole numbers, ONNX Runtime rounds in a way of its own"
