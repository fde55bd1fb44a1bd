"""What the vendor's texts say that AIPP computes, in NumPy, whole images at a time; shares nothing with the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def raw_shape(source_format: str, n: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape in which a batch of images is given (the table "AIPP input format -> caller must supply")."""
    return {
        "YUV420SP_U8": (n, height * 3 // 2, width, 1),
        "YUV422SP_U8": (n, height * 2, width, 1),
        "YUYV_U8": (n, height, width, 2),
        "YUV400_U8": (n, height, width, 1),
        "RGB888_U8": (n, height, width, 3),
    }.get(source_format, (n, height, width, 4))


def planes(raw: Array, source_format: str) -> Array:
    """Return the pixels of raw images as [n, channels, height, width]: every pixel gets the chroma of its block."""
    if source_format in ("YUV420SP_U8", "YUV422SP_U8"):
        every = 2 if source_format == "YUV420SP_U8" else 1
        height = raw.shape[1] * (2 if every == 2 else 1) // (3 if every == 2 else 2)
        luma, chroma = raw[:, :height, :, 0], raw[:, height:, :, 0].reshape(len(raw), -1, raw.shape[2] // 2, 2)
        wide = chroma.repeat(every, axis=1).repeat(2, axis=2)
        return np.stack([luma, wide[..., 0], wide[..., 1]], axis=1)
    if source_format == "YUYV_U8":
        pairs = raw.reshape(*raw.shape[:2], -1, 4)
        luma = pairs[..., (0, 2)].reshape(raw.shape[:3])
        return np.stack([luma, pairs[..., 1].repeat(2, axis=2), pairs[..., 3].repeat(2, axis=2)], axis=1)
    return raw.transpose(0, 3, 1, 2)


def preprocess(raw: Array, settings: Mapping[str, Any], channels: int) -> Array:
    """Return the network's image, float16 [n, channels, height, width]."""
    source_format = settings["input_format"]
    image = planes(raw, source_format).astype(np.int64)
    if settings.get("crop"):
        top, left = settings.get("load_start_pos_h", 0), settings.get("load_start_pos_w", 0)
        image = image[:, :, top:, left:]
        image = image[:, :, : settings.get("crop_size_h") or None, : settings.get("crop_size_w") or None]
    if settings.get("ax_swap_switch") and image.shape[1] == 4:
        image = np.roll(image, -1, axis=1)
    if settings.get("rbuv_swap_switch") and image.shape[1] > 1:
        order = [0, 2, 1, 3] if "YUV" in source_format or "YUYV" in source_format else [2, 1, 0, 3]
        image = image[:, order[: image.shape[1]]]
    if settings.get("csc_switch"):
        matrix = np.array([[settings.get(f"matrix_r{r}c{c}", 0) for c in range(3)] for r in range(3)])
        before = np.array([settings.get(f"input_bias_{c}", 0) for c in range(3)])[:, None, None]
        after = np.array([settings.get(f"output_bias_{c}", 0) for c in range(3)])[:, None, None]
        converted = np.einsum("rc,nchw->nrhw", matrix, image[:, :3] - before) // 256 + after
        image = np.concatenate([converted.clip(0, 255), image[:, 3:]], axis=1)
    image = image[:, :channels]
    mean, least, factor = (
        np.array([settings.get(f"{name}_chn_{c}", default) for c in range(channels)], np.float32)[:, None, None]
        for name, default in (("mean", 0), ("min", 0), ("var_reci", 1))
    )
    result = ((image.astype(np.float32) - mean - least) * factor).astype(np.float16)
    if settings.get("padding"):
        pads = [[settings.get(f"{side}_padding_size", 0) for side in sides] for sides in (("top", "bottom"), ("left", "right"))]
        result = np.pad(result, ((0, 0), (0, 0), *pads), constant_values=np.float16(settings.get("padding_value", 0)))
    return result


def config_text(settings: Mapping[str, Any]) -> str:
    """Return settings as the vendor's configuration file."""
    lines = [f"  {key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()]
    return "aipp_op {\n  aipp_mode: static\n" + "\n".join(lines) + "\n}\n"
