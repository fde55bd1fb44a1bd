"""Pictures of differences: what each pixel says, and that the page is whole."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.cli import main
from landbridge.heat_picture import MAX_PIXELS, heat_page, heat_pixels, png
from landbridge.runtime.comparison import Tolerance, compare, shares
from landbridge.runtime.verdict import Checked, Verdict


def kind(pixel: Any) -> str:
    red, green, blue = (int(value) for value in pixel)
    if red == green == blue:
        return "white" if red == 255 else "grey"
    return "red" if red > 2 * max(green, blue) else "between"


def test_colours_are_those_of_the_share() -> None:
    share = np.array([[0, 1e-9, 0.5, 1, 1.01, 1e9, np.inf]])
    pixels = heat_pixels(share)
    assert [kind(pixel) for pixel in pixels[0]] == ["white", "grey", "grey", "grey", "red", "red", "red"]
    brightness = pixels[0].astype(int).sum(-1)
    assert list(brightness[:4]) == sorted(brightness[:4], reverse=True)
    assert list(brightness[4:]) == sorted(brightness[4:], reverse=True)


def test_shares_are_beyond_one_exactly_where_elements_are_wrong() -> None:
    random = np.random.default_rng(1)
    expected = random.standard_normal((3, 5, 7)).astype(np.float32)
    found = expected + random.choice([0, 1e-6, 1e-2], expected.shape).astype(np.float32)
    found[0, 0, :3] = expected[1, 1, :3] = np.nan, np.inf, -np.inf
    found[2, 2, 0] = expected[2, 2, 0] = np.nan
    tolerance = Tolerance(1e-4, 1e-4)
    share = shares(found, expected, tolerance)
    assert int((share > 1).sum()) == compare("x", found, expected, tolerance).count > 20
    assert share[2, 2, 0] == 0
    whole = np.arange(4)
    np.testing.assert_array_equal(shares(whole, np.array([0, 1, 3, 3]), Tolerance()), [0, 0, np.inf, 0])


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (7, 1, 1), (1, 200)])
def test_every_element_is_somewhere_in_the_picture(shape: tuple[int, ...]) -> None:
    for index in np.ndindex(shape):
        share = np.zeros(shape)
        share[index] = 2
        kinds = [kind(pixel) for pixel in heat_pixels(share).reshape(-1, 3)]
        assert kinds.count("red") == 1
        assert kinds.count("white") == share.size - 1


def test_one_wrong_element_of_many_is_still_seen() -> None:
    share = np.zeros((1, 3, 1500, 2100))
    share[0, 1, 777, 1234] = 2
    pixels = heat_pixels(share)
    assert max(pixels.shape[:2]) <= MAX_PIXELS
    assert [kind(pixel) for pixel in pixels[(pixels[..., 0] > 2 * pixels[..., 1].astype(int))]] == ["red"]


def test_the_png_is_read_by_another_program() -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    pixels = np.random.default_rng(2).integers(0, 256, (5, 9, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)


def test_the_page_has_a_picture_of_each_value_and_needs_no_other_file(tmp_path: Path) -> None:
    expected = np.zeros((2, 3), np.float32)
    entries = []
    for name, found in (("<right>", expected), ("wrong", np.eye(2, 3)), ("shape", np.zeros(4, np.float32))):
        difference = compare(name, np.asarray(found, np.float32), expected, Tolerance(0, 1e-3))
        entries.append(Checked("output", difference, 0, np.asarray(found, np.float32), expected))
    page = heat_page([Verdict(tuple(entries), {}, "")], "net.lbr", by="net.onnx")
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(text)[:4] for text in images] == [b"\x89PNG"] * 2
    assert page.count("class=differs") == 2
    assert "&lt;right&gt;" in page
    assert "shape [4], expected [2, 3]" in page
    assert "http" not in page


def test_verify_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], files: Path) -> None:
    words = ["verify", str(files / "net.lbr"), "--reference", str(files / "net.onnx"), "--picture", str(tmp_path / "p.html")]
    assert main(words) == 0
    assert (tmp_path / "p.html").read_text().count("<img") == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.small_onnx import node, small_model

    folder = tmp_path_factory.mktemp("heat")
    model = small_model([node("Relu", "x", "y")], {"x": ("float32", ("n", 4))}, {"y": ("float32", ("n", 4))})
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    assert main(["compile", str(folder / "net.onnx"), "-o", str(folder / "net.lbr")]) == 0
    return folder
