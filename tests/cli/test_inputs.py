"""Inputs from files and from nothing, by the signature."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.cli import inputs
from landbridge.runtime.errors import InputError
from landbridge.runtime.gate import TensorInfo

IMAGE = TensorInfo("image", "uint8", ("n", 4, 6, 3), "cpu")
SCALE = TensorInfo("scale", "float32", ("n",), "cpu")


def read(ports: list[TensorInfo], *words: object, fill: str | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    inputs.add(parser, fill=fill)
    parser.add_argument("--quiet", action="store_true")
    return inputs.read(ports, parser.parse_args([str(word) for word in words]))


def picture(path: Path, size: tuple[int, int] = (6, 4)) -> Any:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    pixels = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    image.fromarray(pixels).save(path)
    return pixels


def test_arrays_come_from_npz_and_npy_files(tmp_path: Path) -> None:
    image, scale = np.ones((2, 4, 6, 3), np.uint8), np.ones(2, np.float32)
    np.savez(tmp_path / "in.npz", image=image)
    np.save(tmp_path / "scale.npy", scale)
    found = read([IMAGE, SCALE], "-i", tmp_path / "in.npz", "-i", f"scale={tmp_path / 'scale.npy'}")
    np.testing.assert_array_equal(found["image"], image)
    np.testing.assert_array_equal(found["scale"], scale)


def test_a_picture_becomes_what_the_input_wants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "photo.png"
    pixels = picture(path)
    np.testing.assert_array_equal(read([IMAGE], "-i", f"image={path}")["image"], pixels[None])
    planes = TensorInfo("image", "uint8", (1, 3, "h", "w"), "cpu")
    np.testing.assert_array_equal(read([planes], "-i", f"image={path}")["image"], pixels.transpose(2, 0, 1)[None])
    assert read([TensorInfo("image", "uint8", ("h", "w"), "cpu")], "-i", f"image={path}")["image"].shape == (4, 6)
    assert capsys.readouterr().err == ""
    assert read([TensorInfo("image", "uint8", (8, 8, 1), "cpu")], "-i", f"image={path}")["image"].shape == (8, 8, 1)
    assert capsys.readouterr().err == f"{path}: 6x4 resized to 8x8\n"
    read([TensorInfo("image", "uint8", (8, 8, 1), "cpu")], "-i", f"image={path}", "--quiet")
    assert capsys.readouterr().err == ""


def test_any_other_file_is_the_bytes_of_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "photo.bin"
    pixels = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    path.write_bytes(pixels.tobytes())
    np.testing.assert_array_equal(read([IMAGE], "-i", f"image={path}")["image"], pixels)
    with pytest.raises(InputError) as caught:
        read([TensorInfo("image", "uint8", ("n", 5), "cpu")], "-i", f"image={path}")
    assert str(caught.value) == f"{path}: 144 bytes, expected uint8 [n, 5] for input 'image'"
    with pytest.raises(InputError) as caught:
        read([TensorInfo("image", "uint8", ("n", "m"), "cpu")], "-i", f"image={path}")
    assert str(caught.value) == f"{path}: its size does not tell n, m\n  hint: give --dim n=N"
    two = TensorInfo("image", "uint8", ("n", "m"), "cpu")
    assert read([two], "-i", f"image={path}", "--dim", "n=9")["image"].shape == (9, 16)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no value for inputs image, scale\n  hint: give -i in.npz, -i NAME=array.npy, or --fill random"),
        (["-i", "imag=a.npy"], "the model has no input 'imag'\n  hint: did you mean 'image'?"),
        (["-i", "{folder}/one.npy"], "{folder}/one.npy: holds one array without a name\n  hint: give -i NAME={folder}/one.npy"),
        (["-i", "image={folder}/none.bin"], "{folder}/none.bin: cannot read it: No such file or directory"),
        (
            ["-i", "{folder}/none.npz"],
            "{folder}/none.npz: cannot read arrays from it: No such file or directory\n  hint: give a .npz or .npy file that NumPy wrote",
        ),
        (
            ["-i", "image={folder}/two.npz"],
            "{folder}/two.npz: holds several arrays, expected one for 'image'\n  hint: give -i {folder}/two.npz without the name",
        ),
        (["-i", "image={folder}/bad.png"], "{folder}/bad.png: not a picture that Pillow can read"),
        (
            ["-i", "scale={folder}/bad.png"],
            "{folder}/bad.png: a picture gives uint8 pixels, input 'scale' is float32 [n]\n"
            "  hint: scale the pixels as the model was trained, and give them as -i scale=array.npy",
        ),
    ],
)
def test_what_cannot_be_read_is_explained(words: list[str], message: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="needs Pillow")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "two.npz", image=np.zeros(3), scale=np.zeros(3))
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(InputError) as caught:
        read([IMAGE, SCALE], *(word.format(folder=tmp_path) for word in words))
    assert str(caught.value) == message.format(folder=tmp_path)


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing in it": (lambda data: b"", "No data left in file"),
    "cut": (lambda data: data[:200], "File is not a zip file"),
    "changed": (lambda data: data[:150] + b"?" + data[151:], "Bad CRC-32 for file 'image.npy'"),
    "text": (lambda data: b"hello", "it has Python objects in it, or is no file of NumPy"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_of_arrays_is_explained(case: str, tmp_path: Path) -> None:
    damage, reason = DAMAGED[case]
    path = tmp_path / "in.npz"
    np.savez(path, image=np.zeros(64))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        read([IMAGE], "-i", str(path))
    assert str(caught.value) == f"{path}: cannot read arrays from it: {reason}\n  hint: give a .npz or .npy file that NumPy wrote"


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", image=np.array([{}], object))
    with pytest.raises(InputError, match="it has Python objects in it"):
        read([IMAGE], "-i", str(tmp_path / "in.npz"))


def test_a_picture_for_something_else_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "photo.png")
    for shape in ((2, 4, 6, 3), (5, 6, 7), ("n",)):
        with pytest.raises(InputError, match="expected one picture with 1, 3 or 4 channels"):
            read([TensorInfo("image", "uint8", shape, "cpu")], "-i", f"image={tmp_path / 'photo.png'}")


def test_what_is_made_up_fits_what_is_given(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", image=np.ones((5, 4, 6, 3), np.uint8))
    found = read([IMAGE, SCALE], "-i", tmp_path / "in.npz", fill="ones")
    np.testing.assert_array_equal(found["scale"], np.ones(5, np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool", "int8", "uint8", "int64", "bfloat16"])
def test_random_values_of_every_type_follow_the_seed(dtype: str) -> None:
    port = TensorInfo("x", dtype, (16,), "cpu")
    first, same, other = (read([port], "--fill", "random", "--seed", seed)["x"] for seed in (1, 1, 2))
    assert first.tobytes() == same.tobytes() != other.tobytes()
    if dtype == "bfloat16":
        values = (first.astype(np.uint32) << 16).view(np.float32)
        assert np.abs(values).max() < 6
