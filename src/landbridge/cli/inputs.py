"""Inputs for a model from the command line: arrays, images and raw bytes from files, or made up by the signature."""

from __future__ import annotations

import argparse
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.cli import options
from landbridge.runtime.dims import evaluate, names, render_shape
from landbridge.runtime.dtypes import holder, is_packed
from landbridge.runtime.errors import InputError, UserError, did_you_mean
from landbridge.runtime.gate import TensorInfo
from landbridge.runtime.opaque import example, is_opaque

Array = NDArray[Any]

ARRAYS = (".npy", ".npz")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""The endings of files that hold arrays and pictures; what any other file holds are the bytes of a tensor."""

_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
"""By number of channels, Pillow's name of the pixels."""


def add(parser: argparse.ArgumentParser, *, fill: str | None = None) -> None:
    """Add ``-i``, ``--fill``, ``--seed`` and ``--dim``.

    Args:
        fill: how inputs are made up where no option says so; None: they must be given.
    """
    default = f" (default: {fill})" if fill else ""
    parser.add_argument(
        "-i",
        "--input",
        action="append",
        default=[],
        metavar="IN",
        help="in.npz with an array for each input, or NAME=FILE: an .npy array, a picture such as photo.png, or else the tensor's bytes",
    )
    parser.add_argument(
        "--fill", choices=("random", "zeros", "ones"), default=fill, help=f"make up the inputs that -i does not give{default}"
    )
    parser.add_argument("--seed", type=int, default=0, help="for --fill random (default: 0)")
    parser.add_argument(
        "--dim", action="append", default=[], metavar="NAME=N", help="extent of a named dimension, where inputs are made up (default: 1)"
    )


def read(ports: Sequence[TensorInfo], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return an array for each input: from files, else made up.

    Raises:
        InputError: a file is not readable, or an input is given by none.
        UsageError: ``--dim`` is malformed.
    """
    wanted = {port.name: port for port in ports}
    dims = options.numbers(arguments.dim, option="--dim")
    tell = _nothing if arguments.quiet else options.progress
    given: dict[str, Any] = {}
    for text in arguments.input:
        name, separator, file = text.partition("=")
        found = {name: _tensor(_port(wanted, name), Path(file), dims, tell)} if separator else several(Path(text))
        for key in found:
            _port(wanted, key)
        given.update(found)
    missing = [name for name in wanted if name not in given]
    if missing and not arguments.fill:
        raise InputError(
            f"no value for input{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            hint="give -i in.npz, -i NAME=array.npy, or --fill random",
            code="LB1201",
        )
    random = np.random.default_rng(arguments.seed)
    known = _extents(wanted, given) | dims
    for name in missing:
        shape = wanted[name].shape
        extents = {dim: known.get(dim, 1) for size in shape for dim in names(size)}
        given[name] = _filled(arguments.fill, tuple(evaluate(size, extents) for size in shape), wanted[name].dtype, random)
    return given


def _port(wanted: Mapping[str, TensorInfo], name: str) -> TensorInfo:
    if name not in wanted:
        raise InputError(f"the model has no input '{name}'", hint=did_you_mean(name, wanted), code="LB1202")
    return wanted[name]


def _extents(wanted: Mapping[str, TensorInfo], given: Mapping[str, Any]) -> dict[str, int]:
    """Return the extents that given arrays tell, so that what is made up fits them."""
    pairs = (pair for name, array in given.items() for pair in zip(wanted[name].shape, np.shape(array), strict=False))
    return {size: extent for size, extent in pairs if isinstance(size, str)}


def several(path: Path) -> dict[str, Any]:
    """Return the arrays in a ``.npz`` file by name.

    Raises:
        InputError: it cannot be read, or has one array without a name.
    """
    loaded = _load(path, hint=f"give -i NAME={path}" if path.suffix.lower() not in ARRAYS else "")
    if isinstance(loaded, np.ndarray):
        raise InputError("holds one array without a name", at=str(path), hint=f"give -i NAME={path}", code="LB1206")
    return loaded


def _nothing(text: str) -> None:
    """Tell nothing."""


def _tensor(port: TensorInfo, path: Path, dims: Mapping[str, int], tell: Callable[[str], None]) -> Any:
    ending = path.suffix.lower()
    if ending in IMAGES:
        return _image(port, path, tell)
    if ending not in ARRAYS:
        return _raw(port, path, dims)
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise InputError(
            f"holds several arrays, expected one for '{port.name}'", at=str(path), hint=f"give -i {path} without the name", code="LB1206"
        )
    return loaded


def _load(path: Path, hint: str = "") -> NDArray[Any] | dict[str, Any]:
    """Return the array of a ``.npy`` file, or all those of a ``.npz`` file by name."""
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _without_advice(str(error))
        raise InputError(
            f"cannot read arrays from it: {reason}", at=str(path), hint=hint or "give a .npz or .npy file that NumPy wrote", code="LB1206"
        ) from error


def _without_advice(text: str) -> str:
    """Return what NumPy says of a file, but for its advice to load pickles: they are programs."""
    return "it has Python objects in it, or is no file of NumPy" if "pickle" in text else text


def _raw(port: TensorInfo, path: Path, dims: Mapping[str, int]) -> Array:
    """Return the tensor whose bytes are in a file, in C order and this machine's byte order; the size of the file tells one open extent."""
    at = str(path)
    if is_opaque(port.dtype) or is_packed(port.dtype):
        raise InputError(f"bytes for an input of {port.dtype}", at=at, hint=f"give -i {port.name}=array.npy", code="LB1206")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", at=at, code="LB1206") from error
    dtype = holder(port.dtype)
    unknown = [dim for size in port.shape for dim in names(size) if dim not in dims]
    if not unknown:
        shape = tuple(evaluate(size, dims) for size in port.shape)
    elif len(unknown) == 1 and unknown[0] in port.shape:
        rest = math.prod(evaluate(size, dims) for size in port.shape if size != unknown[0]) * dtype.itemsize
        shape = tuple(len(data) // max(rest, 1) if size == unknown[0] else evaluate(size, dims) for size in port.shape)
    else:
        raise InputError(
            f"its size does not tell {', '.join(dict.fromkeys(unknown))}", at=at, hint=f"give --dim {unknown[0]}=N", code="LB1206"
        )
    if math.prod(shape) * dtype.itemsize != len(data):
        raise InputError(
            f"{len(data)} bytes, expected {port.dtype} {render_shape(port.shape)} for input '{port.name}'", at=at, code="LB1206"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _image(port: TensorInfo, path: Path, tell: Callable[[str], None]) -> Array:
    """Return the pixels of a picture as the input wants them: its channels, its order of axes, its size where that is fixed."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        raise UserError("reading pictures needs Pillow", at=str(path), hint="pip install pillow", code="LB1002") from error
    if port.dtype != "uint8":
        hint = f"scale the pixels as the model was trained, and give them as -i {port.name}=array.npy"
        raise InputError(f"a picture gives uint8 pixels, input '{port.name}' is {port}", at=str(path), hint=hint, code="LB1207")
    order, channels, height, width = _picture_axes(port, path)
    try:
        picture = Image.open(path).convert(_CHANNELS[channels])
    except (OSError, UnidentifiedImageError) as error:
        raise InputError("not a picture that Pillow can read", at=str(path), code="LB1207") from error
    size = (width if isinstance(width, int) else picture.width, height if isinstance(height, int) else picture.height)
    if size != picture.size:
        tell(f"{path}: {picture.width}x{picture.height} resized to {size[0]}x{size[1]}")
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    pixels: Array = np.asarray(picture, np.uint8).reshape(size[1], size[0], channels)
    pixels = pixels.transpose(2, 0, 1) if order == "CHW" else pixels[..., 0] if order == "HW" else pixels
    return np.ascontiguousarray(pixels[(None,) * (len(port.shape) - pixels.ndim)])


def _picture_axes(port: TensorInfo, path: Path) -> tuple[str, int, Any, Any]:
    """Return the order of an input's last axes, how many channels it has, its height and its width."""
    shape, rank = port.shape, len(port.shape)
    batch = shape[:-3] if rank > 2 else ()
    if rank in (2, 3, 4) and all(not isinstance(extent, int) or extent == 1 for extent in batch):
        if rank == 2:
            return "HW", 1, *shape
        for order, axis, sizes in (("HWC", -1, shape[-3:-1]), ("CHW", -3, shape[-2:])):
            if shape[axis] in _CHANNELS:
                return order, shape[axis], *sizes
    raise InputError(
        f"a picture for input '{port.name}', which is {port}",
        at=str(path),
        hint="expected one picture with 1, 3 or 4 channels",
        code="LB1207",
    )


def _filled(how: str, shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> Any:
    if is_opaque(dtype):
        return example(dtype, shape)
    plain: Any = holder(dtype)
    if dtype == "bfloat16":
        return (_filled(how, shape, "float32", random).view(np.uint32) >> 16).astype(np.uint16)
    if how != "random":
        return np.full(shape, how == "ones", plain)
    if plain == np.bool_:
        return random.random(shape) < 0.5
    if np.issubdtype(plain, np.integer):
        info = np.iinfo(plain)
        return random.integers(max(info.min, -128), min(info.max, 255), shape, plain, endpoint=True)
    return random.standard_normal(shape).astype(plain)
