"""A picture of where values differ: one self-contained page, an image for each value that was compared.

Each element is a pixel, or a block of elements is, by the worst of them: white where nothing differs, grey where the difference is allowed,
from light to dark by orders of magnitude, red where it is more than that. The last two axes are an image, those before are tiles.
"""

from __future__ import annotations

import base64
import html
import math
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.comparison import shares
from landbridge.runtime.dims import render_shape
from landbridge.runtime.verdict import Checked, Verdict

Array = NDArray[Any]

MAX_PIXELS = 1024
"""The most on a side; what is larger is told by the worst of each block."""
_DECADES = 4
"""Differences of a ten-thousandth of what is allowed and less are as good as white."""
_BETWEEN = (214, 224, 240)

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; color: #111; background: #fff }
figure { margin: 0 0 2.5rem } figcaption { margin: 0 0 .5rem } h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 0 }
img { image-rendering: pixelated; border: 1px solid #444; max-width: 100% }
.differs::after { content: " differs"; color: #b00020; font-weight: 600 }
.scale { display: inline-block; width: 1.2em; height: 1em; border: 1px solid #444; vertical-align: -.15em; margin: 0 .3em 0 1em }
"""


def heat_page(verdicts: Iterable[Verdict], title: str, *, by: str) -> str:
    """Return the page.

    Args:
        verdicts: of one run, or of several.
        title: such as the artifact's name.
        by: who says what is right.
    """
    parts = [f"<h1>{html.escape(title)}: differences from {html.escape(by)}</h1>", _scale()]
    parts += [_figure(entry) for verdict in verdicts for entry in verdict.checked]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"{meta}<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def heat_pixels(share: Array) -> NDArray[np.uint8]:
    """Return the picture of an array of differences as shares of what is allowed: uint8 [height, width, 3]."""
    plane = _reduced(_plane(share))
    level = np.clip(1 + np.log10(np.maximum(plane, 1e-300)) / _DECADES, 0, 1)  # 0: nothing, 1: all that is allowed
    grey = np.where(plane > 0, 235 - 165 * level, 255)
    excess = np.clip(np.log10(np.maximum(plane, 1)) / _DECADES, 0, 1)
    pixels = np.stack([grey, grey, grey], -1)
    pixels[plane > 1] = np.stack([235 - 100 * excess, 60 - 60 * excess, 50 - 50 * excess], -1)[plane > 1]
    pixels[np.isnan(plane)] = _BETWEEN
    return pixels.astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels, uint8 [height, width, 3], as a PNG file.

    Source: the PNG specification, https://www.w3.org/TR/png-3/, for 8-bit RGB without filters.
    """
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _plane(share: Array) -> Array:
    """Return an array as one plane: its last two axes side by side and below each other, in as square a grid as can be, NaN between."""
    array = share.reshape((1,) * max(0, 2 - share.ndim) + share.shape)
    height, width = array.shape[-2:]
    tiles = array.reshape(-1, height, width)
    columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * (height + 1) / (width + 1)))))
    rows = -(-len(tiles) // columns)
    plane = np.full((max(rows * (height + 1) - 1, 1), max(columns * (width + 1) - 1, 1)), np.nan)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        plane[top : top + height, left : left + width] = tile
    return plane


def _reduced(plane: Array) -> Array:
    """Return a plane with at most `MAX_PIXELS` on a side, each the worst of a block."""
    for axis in (0, 1):
        length = plane.shape[axis]
        if length > MAX_PIXELS:
            starts = np.arange(0, length, -(-length // MAX_PIXELS))
            plane = np.fmax.reduceat(plane, starts, axis)
    return plane


def _figure(entry: Checked) -> str:
    found = entry.difference
    kind = f"{found.dtype} {render_shape(found.shape)}"
    figures = f"{kind}; largest difference {found.max_abs:.3g}; {found.count} elements beyond {html.escape(str(found.tolerance))}"
    heading = f"<h2{'' if found.agrees else ' class=differs'}>{html.escape(found.name)}, {html.escape(entry.where)}</h2>"
    if found.shape != found.expected_shape or 0 in found.shape:
        return f"<figure><figcaption>{heading}{figures}; {html.escape(found.describe() or 'no elements')}</figcaption></figure>"
    pixels = heat_pixels(shares(entry.found, entry.expected, found.tolerance, found.dtype))
    height, width, _ = pixels.shape
    zoom = max(1, min(32, 640 // max(height, width)))
    text = base64.b64encode(png(pixels)).decode("ascii")
    size = f"width={width * zoom} height={height * zoom}"
    picture = f'<img alt="where {html.escape(found.name)} differs" {size} src="data:image/png;base64,{text}">'
    first = f"; first {html.escape(found.describe())}" if found.first is not None else ""
    return f"<figure><figcaption>{heading}{figures}{first}</figcaption>{picture}</figure>"


def _scale() -> str:
    steps = [
        ("nothing", 0.0),
        ("1/1000 of what is allowed", 1e-3),
        ("all that is allowed", 1.0),
        ("10 times that", 10.0),
        ("1000 times", 1e3),
    ]
    parts = []
    for label, share in steps:
        red, green, blue = heat_pixels(np.array([[share]]))[0, 0]
        parts.append(f'<span class=scale style="background: rgb({red} {green} {blue})"></span>{label}')
    return f"<p>{''.join(parts)}</p>"
