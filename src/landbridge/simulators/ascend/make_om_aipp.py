"""Static image preprocessing (AIPP) for the maker of OM files: ATC's configuration file, checked against the network's input.

The text is that of ATC's option ``--insert_op_conf``: blocks ``aipp_op { key: value … }``. What the settings compute is in
``ops_aipp.c`` beside this file; what is not simulated (resize, dynamic AIPP) is refused here already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from landbridge.runtime.errors import ModelError, UnsupportedError, did_you_mean
from landbridge.runtime.vendors.atlas.format import AIPP_FORMATS
from landbridge.simulators.ascend.make_om_graph import NamedAttributes
from landbridge.simulators.ascend.make_om_onnx import Value

Setting = bool | int | float

_BOOLS = ("crop", "padding", "csc_switch", "rbuv_swap_switch", "ax_swap_switch")
_INTEGERS = (
    *("related_input_rank", "src_image_size_w", "src_image_size_h", "load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h"),
    *(f"{side}_padding_size" for side in ("left", "right", "top", "bottom")),
    *(f"matrix_r{row}c{column}" for row in range(3) for column in range(3)),
    *(f"{kind}_bias_{channel}" for kind in ("output", "input") for channel in range(3)),
    *(f"mean_chn_{channel}" for channel in range(4)),
)
_REALS = ("padding_value", *(f"{kind}_chn_{channel}" for kind in ("min", "var_reci") for channel in range(4)))
_NOT_MADE = {
    "resize": "resizing",
    "single_line_mode": "single-line mode",
    "raw_rgbir_to_f16_n": "raw sensor data",
    "cpadding_value": "padding of channels",
}
_WORDS = {"aipp_mode", "input_format", "related_input_name"}

_CHANNELS: dict[str, tuple[int, ...]] = {
    "YUV420SP_U8": (3,),
    "XRGB8888_U8": (3, 4),
    "RGB888_U8": (3,),
    "YUV400_U8": (1,),
    "ARGB8888_U8": (3, 4),
    "YUYV_U8": (3,),
    "YUV422SP_U8": (3,),
    "AYUV444_U8": (3, 4),
}
"""The formats that can be made, and how many channels a network may take of each."""

_TOKEN = re.compile(r"\s*(?:#[^\n]*|([{}:])|\"([^\"]*)\"|([\w.+-]+))")


@dataclass(frozen=True)
class AippConfig:
    """One block of the configuration.

    Attributes:
        source_format: what the caller gives, such as ``RGB888_U8``.
        input_name: the input it is for; "" where `input_rank` tells.
        input_rank: the number of the input it is for.
        settings: all other settings that are written.
    """

    source_format: str
    input_name: str
    input_rank: int
    settings: Mapping[str, Setting]

    def named(self, source: tuple[int, int]) -> NamedAttributes:
        """Return the settings as the file has them, for a source image of this height and width (0: as large as it is)."""
        code = next(code for code, name in AIPP_FORMATS.items() if name == self.source_format)
        sizes = {"src_image_size_w": source[1], "src_image_size_h": source[0]}
        normal = {f"var_reci_chn_{channel}": 1.0 for channel in range(4)}
        return NamedAttributes("aipp", {"aipp_mode": 1, "input_format": code, **normal, **self.settings, **sizes})

    def number(self, name: str) -> int:
        """Return a whole-numbered setting, 0 where it is not written."""
        return int(self.settings.get(name, 0))


@dataclass(frozen=True)
class AippInput:
    """An input with preprocessing.

    Attributes:
        attributes: the settings as the file has them.
        source_format: what the caller gives.
        source_height: of the image in pixels; None where the gear decides.
        source_width: the same.
        source_shape: of the raw image, NHWC; None where the gear decides.
    """

    attributes: NamedAttributes
    source_format: str
    source_height: int | None
    source_width: int | None
    source_shape: tuple[int | None, ...]


def parse_aipp(text: str) -> tuple[AippConfig, ...]:
    """Return the blocks of a configuration file.

    Raises:
        ModelError: it does not read as such a file, or has an unknown setting.
        UnsupportedError: it asks for what the simulator does not do.

    Example:
        >>> parse_aipp("aipp_op { aipp_mode: static input_format: RGB888_U8 mean_chn_0: 104 }")[0].settings
        {'mean_chn_0': 104}
    """
    tokens = _tokens(text)
    blocks = []
    while tokens:
        if tokens[:2] != ["aipp_op", "{"]:
            raise ModelError(f"found '{' '.join(tokens[:2])}', expected 'aipp_op {{'", at="the AIPP configuration")
        end = tokens.index("}") if "}" in tokens else -1
        if end < 0:
            raise ModelError("a block has no '}'", at="the AIPP configuration")
        blocks.append(_read_block(tokens[2:end]))
        tokens = tokens[end + 1 :]
    if not blocks:
        raise ModelError("it has no block 'aipp_op { … }'", at="the AIPP configuration")
    return tuple(blocks)


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ModelError(f"cannot be read from '{text[position : position + 20].strip()}' on", at="the AIPP configuration")
        position = match.end()
        found += [group for group in match.groups() if group is not None]
    return found


def _read_block(tokens: Sequence[str]) -> AippConfig:
    entries = {tokens[index]: tokens[index + 2] for index in range(0, len(tokens) - 2, 3) if tokens[index + 1] == ":"}
    if 3 * len(entries) != len(tokens):
        raise ModelError("expected 'key: value' and each key once", at="the AIPP configuration")
    mode = entries.get("aipp_mode", "")
    if mode != "static":
        what = "dynamic AIPP is set call by call, which the simulator does not do" if mode == "dynamic" else f"aipp_mode is '{mode}'"
        raise UnsupportedError(f"{what}; expected static", at="the AIPP configuration", hint="write aipp_mode: static", code="LB2311")
    source_format = entries.get("input_format", "")
    if source_format not in _CHANNELS:
        known = ", ".join(_CHANNELS)
        raise UnsupportedError(f"input_format is '{source_format}', expected one of {known}", at="the AIPP configuration", code="LB2311")
    settings = {key: _value(key, text) for key, text in entries.items() if key not in _WORDS}
    rank = int(settings.pop("related_input_rank", 0))
    return AippConfig(source_format, entries.get("related_input_name", ""), rank, {k: v for k, v in settings.items() if k not in _NOT_MADE})


def _value(key: str, text: str) -> Setting:
    if key in _NOT_MADE:
        if text not in ("false", "0"):
            raise UnsupportedError(
                f"{key}: {_NOT_MADE[key]} is not simulated", at="the AIPP configuration", hint=f"leave out {key}", code="LB2311"
            )
        return False
    if key not in (*_BOOLS, *_INTEGERS, *_REALS):
        raise ModelError(
            f"unknown setting '{key}'", at="the AIPP configuration", hint=did_you_mean(key, (*_BOOLS, *_INTEGERS, *_REALS, *_WORDS))
        )
    if key in _BOOLS:
        if text not in ("true", "false"):
            raise ModelError(f"{key} is '{text}', expected true or false", at="the AIPP configuration")
        return text == "true"
    try:
        return int(text) if key in _INTEGERS else float(text)
    except ValueError:
        what = "a whole number" if key in _INTEGERS else "a number"
        raise ModelError(f"{key} is '{text}', expected {what}", at="the AIPP configuration") from None


def assign_aipp(configs: Sequence[AippConfig], inputs: Sequence[Value]) -> dict[str, AippInput]:
    """Return for each input with preprocessing what the caller gives in its place.

    Raises:
        ModelError: no such input, or sizes that do not add up to the network's.
    """
    found: dict[str, AippInput] = {}
    for config in configs:
        names = [value.name for value in inputs]
        name = config.input_name or (names[config.input_rank] if config.input_rank < len(names) else "")
        if name not in names or name in found:
            what = f"input '{config.input_name}'" if config.input_name else f"input number {config.input_rank}"
            raise ModelError(f"a block for {what}, expected one for each of {', '.join(names)} at most", at="the AIPP configuration")
        found[name] = _for_input(config, inputs[names.index(name)])
    return found


def _for_input(config: AippConfig, value: Value) -> AippInput:
    channels = _CHANNELS[config.source_format]
    if not value.dtype.startswith("float") or len(value.shape) != 4 or value.shape[1] not in channels:
        wanted = " or ".join(map(str, channels))
        found = f"{value.dtype} {['?' if extent is None else extent for extent in value.shape]}"
        _fail(value, f"AIPP of {config.source_format} gives a floating image [n, {wanted}, height, width], the network takes {found}")
    height, width = (_source_extent(config, value, axis) for axis in ("h", "w"))
    chroma = config.source_format in ("YUV420SP_U8", "YUV422SP_U8", "YUYV_U8")
    if chroma and (height is None or width is None):
        _fail(value, f"image sizes cannot be gears of a {config.source_format} image, whose rows are not its height")
    if chroma and ((width or 0) % 2 or ((height or 0) % 2 and config.source_format == "YUV420SP_U8")):
        _fail(value, f"a {config.source_format} image of {height} x {width}, expected even numbers")
    if chroma and config.settings.get("crop") and any(config.number(f"load_start_pos_{axis}") % 2 for axis in ("h", "w")):
        _fail(value, f"a {config.source_format} image is cropped from an odd place on, expected even load_start_pos_h and load_start_pos_w")
    raw = raw_shape(config.source_format, (value.shape[0], height, width))
    return AippInput(config.named((height or 0, width or 0)), config.source_format, height, width, raw)


def raw_shape(source_format: str, image: tuple[int | None, int | None, int | None]) -> tuple[int | None, ...]:
    """Return the shape NHWC in which an image of this batch, height and width is given; of None nothing is known."""
    batch, height, width = image
    rows = {"YUV420SP_U8": 3, "YUV422SP_U8": 4}.get(source_format, 2)
    depths = {"RGB888_U8": 3, "XRGB8888_U8": 4, "ARGB8888_U8": 4, "AYUV444_U8": 4, "YUYV_U8": 2}
    return batch, height if height is None else height * rows // 2, width, depths.get(source_format, 1)


def _source_extent(config: AippConfig, value: Value, axis: str) -> int | None:
    """Return the source image's extent along ``axis`` ("h" or "w"), checked against the network's, None where a gear decides."""
    sides = ("top", "bottom") if axis == "h" else ("left", "right")
    crops, pads = bool(config.settings.get("crop")), bool(config.settings.get("padding"))
    padding = sum(config.number(f"{side}_padding_size") for side in sides) if pads else 0
    start, size = (config.number(f"load_start_pos_{axis}"), config.number(f"crop_size_{axis}")) if crops else (0, 0)
    source = config.number(f"src_image_size_{axis}")
    extent = value.shape[2 if axis == "h" else 3]
    if extent is None:
        if source or start or size or padding:
            _fail(value, "with image sizes as gears AIPP cannot crop, pad or fix the source image's size")
        return None
    source = source or (size or extent - padding) + start
    if start < 0 or padding < 0 or (size or source - start) + padding != extent or start + (size or 1) > source:
        crop = f"cropped to {size or source - start} from {start} on, " if crops else ""
        what = "height" if axis == "h" else "width"
        _fail(value, f"AIPP makes a {what} of {source} pixels, {crop}with {padding} more as padding; the network takes {extent}")
    return source


def _fail(value: Value, text: str) -> NoReturn:
    raise ModelError(text, at=f"input '{value.name}'", hint="change the AIPP configuration, or the network's input")
