"""What stands before and after an offline model, as ONNX models: pre-processing of pictures, sound and text, and three ways of decoding.

Each `Processing` has the model, what to feed it, and the same in NumPy as one would write it by hand. Pre-processing of pictures comes in
several forms that mean the same: which one a user's exporter wrote must not matter. ``hand_fused.c`` has two of them as one writes them
in C for this one purpose, which is the measure of what is possible.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Arrays = Mapping[str, Array]

OPSET = 17


@dataclass(frozen=True)
class Processing:
    """A graph of the bench.

    Attributes:
        name: what the table calls it.
        model: the ONNX model.
        feeds: what it is run on.
        numpy: the same in NumPy; returns the outputs in the model's order.
        hand: the function of ``hand_fused.c`` that does the same, or "".
    """

    name: str
    model: onnx.ModelProto
    feeds: Arrays
    numpy: Callable[[Arrays], list[Array]]
    hand: str = ""


_LOOSE = ("-fno-math-errno", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math", "-fassociative-math", "-freciprocal-math")
"""What ``-ffast-math`` allows. With that, GCC links a start-up file into the library that has the loading thread flush subnormals."""


def by_hand() -> ctypes.CDLL:
    """Return ``hand_fused.c``, compiled."""
    source = Path(__file__).parent / "hand_fused.c"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "hand_fused.so"
        command = ["cc", "-O3", "-march=native", *_LOOSE, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(source), "-lm"]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(made))


def graphs() -> dict[str, Callable[[], Processing]]:
    """Return how to make each graph, by name; of pre-processing of pictures the form that most exporters write."""
    made: dict[str, Callable[[], Processing]] = {
        "picture": lambda: picture("cast, resize, normalise, transpose"),
        "log-mel": log_mel,
        "embeddings": embeddings,
        "detections": detections,
        "top-5": top_5,
        "ctc": ctc,
    }
    return made


class _Graph:
    """A model while it is written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.weights: list[Any] = []

    def take(self, name: str, dtype: int, shape: list[int]) -> str:
        """Return the name of a new input."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def add(self, operator: str, *inputs: Any, to: str = "", **attributes: Any) -> str:
        """Return the name of the first output of a new node.

        Args:
            inputs: names; arrays become weights.
            to: the names of the outputs, with blanks between; one is made up where it is left out.
        """
        names = []
        for value in inputs:
            if not isinstance(value, str):
                self.weights.append(numpy_helper.from_array(np.asarray(value), f"w{len(self.weights)}"))
            names.append(value if isinstance(value, str) else self.weights[-1].name)
        outputs = to.split() or [f"v{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return outputs[0]

    def cast(self, value: str, dtype: int, to: str = "") -> str:
        """Return the name of a value of another element type."""
        output = to or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node("Cast", [value], [output], to=dtype))
        return output

    def model(self, **outputs: int) -> onnx.ModelProto:
        """Return the model with outputs of these names and element types."""
        results = [helper.make_tensor_value_info(name, dtype, None) for name, dtype in outputs.items()]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, results, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        made.ir_version = 8
        return onnx.shape_inference.infer_shapes(made)


# ---- (a) a camera's picture ------------------------------------------------------------------------------------------------------

HEIGHT, WIDTH, SIDE = 720, 1280, 640
MEAN = np.array([123.675, 116.28, 103.53], "float32")
DEVIATION = np.array([58.395, 57.12, 57.375], "float32")

FORMS = (
    "cast, resize, normalise, transpose",
    "cast, resize, transpose, normalise",
    "cast, transpose, resize, normalise",
    "transpose, cast, resize, normalise",
    "cast, normalise, resize, transpose",
    "cast, resize, normalise, half, transpose",
)
"""Orders of the steps of `picture` that mean the same, each with ``sub/div`` or ``mul/add`` for the normalisation."""


def picture(form: str, *, scaled: bool = False) -> Processing:
    """Return uint8 [1, 720, 1280, 3] -> resize to 640 x 640 -> normalise -> float16 [1, 3, 640, 640].

    Args:
        form: one of `FORMS`.
        scaled: normalise by a product and a sum, not by a difference and a quotient.
    """
    graph = _Graph("picture")
    value, channels_last, half = graph.take("image", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3]), True, False
    steps = form.split(", ")
    for step in steps:
        last = step == steps[-1] and (half or "half" in steps)
        shape = (3,) if channels_last else (3, 1, 1)
        if step == "cast":
            value = graph.cast(value, TensorProto.FLOAT)
        elif step == "half":
            value, half = graph.cast(value, TensorProto.FLOAT16), True
        elif step == "transpose":
            value, channels_last = graph.add("Transpose", value, to="tensor" if last else "", perm=[0, 3, 1, 2]), False
        elif step == "resize":
            sizes = np.array([1, SIDE, SIDE, 3] if channels_last else [1, 3, SIDE, SIDE], "int64")
            value = graph.add("Resize", value, "", "", sizes, mode="linear")
        elif scaled:
            value = graph.add("Mul", value, (1 / DEVIATION).reshape(shape))
            value = graph.add("Add", value, (-MEAN / DEVIATION).reshape(shape))
        else:
            value = graph.add("Div", graph.add("Sub", value, MEAN.reshape(shape)), DEVIATION.reshape(shape))
    if not half:
        graph.cast(value, TensorProto.FLOAT16, "tensor")
    image = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), "uint8")
    name = f"picture: {form}{', mul/add' if scaled else ''}"
    return Processing(name, graph.model(tensor=TensorProto.FLOAT16), {"image": image}, _picture, "lb_hand_picture")


def _picture(feeds: Arrays) -> list[Array]:
    image = feeds["image"][0].astype("float32")
    rows, columns = _neighbours(HEIGHT, SIDE), _neighbours(WIDTH, SIDE)
    above, below, down = rows
    left, right, across = columns
    across = across[:, None]
    tall = image[above] + (image[below] - image[above]) * down[:, None, None]
    wide = tall[:, left] + (tall[:, right] - tall[:, left]) * across
    return [((wide - MEAN) / DEVIATION).transpose(2, 0, 1)[None].astype("float16")]


def _neighbours(before: int, after: int) -> tuple[Array, Array, Array]:
    """Return the two neighbours of each place, and how far it lies from the first."""
    place = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    first = np.floor(place).astype("int64")
    return first, np.minimum(first + 1, before - 1), (place - first).astype("float32")


# ---- (b) sound -------------------------------------------------------------------------------------------------------------------

RATE, WINDOW, STEP, MELS = 16000, 400, 160, 80
SECONDS = 10


def log_mel() -> Processing:
    """Return float32 [1, 160000] -> spectrogram -> 80 mel bands -> logarithm, as a speech recogniser takes it: float32 [1, 80, 998]."""
    graph = _Graph("log_mel")
    sound = graph.take("sound", TensorProto.FLOAT, [1, RATE * SECONDS])
    sound = graph.add("Unsqueeze", sound, np.array([2], "int64"))
    spectrum = graph.add("STFT", sound, np.array(STEP, "int64"), _window(), np.array(WINDOW, "int64"), onesided=1)
    power = graph.add("ReduceSum", graph.add("Mul", spectrum, spectrum), np.array([3], "int64"), keepdims=0)
    mel = graph.add("MatMul", power, mel_bands())
    log = graph.add("Log", graph.add("Max", mel, np.array(1e-10, "float32")))
    log = graph.add("Mul", log, np.array(1 / np.log(10), "float32"))
    loudest = graph.add("ReduceMax", log, axes=[1, 2], keepdims=1)
    log = graph.add("Max", log, graph.add("Sub", loudest, np.array(8, "float32")))
    log = graph.add("Div", graph.add("Add", log, np.array(4, "float32")), np.array(4, "float32"))
    graph.add("Transpose", log, to="features", perm=[0, 2, 1])
    random = np.random.default_rng(0)
    time = np.arange(RATE * SECONDS) / RATE
    sound_ = np.sin(2 * np.pi * time * (200 + 50 * time)) * 0.3 + random.standard_normal(time.shape) * 0.01
    feeds = {"sound": sound_.astype("float32")[None]}
    return Processing("log-mel", graph.model(features=TensorProto.FLOAT), feeds, _log_mel)


def _window() -> Array:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype("float32")


def mel_bands() -> Array:
    """Return the weights of 80 triangular bands, evenly spaced in mel, over the frequencies of a window: float32 [201, 80]."""
    frequencies = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), MELS + 2) / 2595) - 1)
    rise = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0, np.minimum(rise, fall)) * 2 / (edges[2:] - edges[:-2])
    return np.asarray(bands, "float32")


def _log_mel(feeds: Arrays) -> list[Array]:
    sound = feeds["sound"][0]
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP] * _window()
    power = np.abs(np.fft.rfft(frames)) ** 2
    log = np.log10(np.maximum(power.astype("float32") @ mel_bands(), 1e-10))
    return [((np.maximum(log, log.max() - 8) + 4) / 4).T[None].astype("float32")]


# ---- (c) text --------------------------------------------------------------------------------------------------------------------

TOKENS, VOCABULARY, FEATURES = 128, 8192, 768


def embeddings() -> Processing:
    """Return int64 [1, 128] and segments -> the sum of three embeddings -> layer norm: float32 [1, 128, 768]."""
    random = np.random.default_rng(0)
    tables = [random.standard_normal((rows, FEATURES)).astype("float32") * np.float32(0.02) for rows in (VOCABULARY, 512, 2)]
    scale = 1 + 0.1 * random.standard_normal(FEATURES).astype("float32")
    shift = 0.1 * random.standard_normal(FEATURES).astype("float32")
    graph = _Graph("embeddings")
    tokens = graph.take("tokens", TensorProto.INT64, [1, TOKENS])
    segments = graph.take("segments", TensorProto.INT64, [1, TOKENS])
    total = graph.add("Add", graph.add("Gather", tables[0], tokens), graph.add("Gather", tables[2], segments))
    total = graph.add("Add", total, graph.add("Gather", tables[1], np.arange(TOKENS)[None]))
    mean = graph.add("ReduceMean", total, axes=[-1])
    centred = graph.add("Sub", total, mean)
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[-1])
    deviation = graph.add("Sqrt", graph.add("Add", variance, np.array(1e-12, "float32")))
    graph.add("Add", graph.add("Mul", graph.add("Div", centred, deviation), scale), shift, to="embedded")

    def numpy(feeds: Arrays) -> list[Array]:
        total = tables[0][feeds["tokens"]] + tables[2][feeds["segments"]] + tables[1][:TOKENS]
        centred = total - total.mean(-1, keepdims=True)
        return [centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-12)) * scale + shift]

    feeds = {"tokens": random.integers(0, VOCABULARY, (1, TOKENS)), "segments": random.integers(0, 2, (1, TOKENS))}
    return Processing("embeddings", graph.model(embedded=TensorProto.FLOAT), feeds, numpy)


# ---- (d) detections --------------------------------------------------------------------------------------------------------------

ANCHORS, CLASSES, CANDIDATES, MOST = 8400, 80, 300, 100
OVERLAP, CONFIDENCE = 0.65, 0.25
STRIDES = (8, 16, 32)


def detections() -> Processing:
    """Return the decoding of a YOLO-style head over 640 x 640: 8,400 anchors, 80 classes.

    Scores are sigmoids; of each anchor the best class counts; the 300 best anchors are decoded and thinned out by non-maximum suppression.
    """
    grid, stride = anchors()
    graph = _Graph("detections")
    raw = graph.take("raw", TensorProto.FLOAT, [1, ANCHORS, 4])
    logits = graph.take("logits", TensorProto.FLOAT, [1, ANCHORS, CLASSES])
    scores = graph.add("Sigmoid", logits)
    best = graph.add("ReduceMax", scores, axes=[2], keepdims=0)
    which = graph.add("ArgMax", scores, axis=2, keepdims=0)
    graph.add("TopK", best, np.array([CANDIDATES], "int64"), to="scores places", axis=1)
    places = graph.add("Reshape", "places", np.array([CANDIDATES], "int64"))
    graph.add("Gather", which, places, to="classes", axis=1)
    two = np.array([2, 2], "int64")
    centre, size = graph.add("Split", raw, two, to="centre size", axis=2), "size"
    centre = graph.add("Mul", graph.add("Add", centre, grid), stride)
    half = graph.add("Mul", graph.add("Mul", graph.add("Exp", size), stride), np.array(0.5, "float32"))
    corners = graph.add("Concat", graph.add("Sub", centre, half), graph.add("Add", centre, half), axis=2)
    graph.add("Gather", corners, places, to="boxes", axis=1)
    score = graph.add("Unsqueeze", "scores", np.array([1], "int64"))
    limits = (np.array([MOST], "int64"), np.array([OVERLAP], "float32"), np.array([CONFIDENCE], "float32"))
    graph.add("NonMaxSuppression", "boxes", score, *limits, to="selected")
    types = {"boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT, "classes": TensorProto.INT64, "selected": TensorProto.INT64}
    return Processing("detections", graph.model(**types), _heads(grid, stride), _detections, "lb_hand_detections")


def anchors() -> tuple[Array, Array]:
    """Return the grid places and the strides of all anchors: float32 [1, 8400, 2] and [1, 8400, 1]."""
    grids, strides = [], []
    for stride in STRIDES:
        side = 640 // stride
        y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
        grids.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(grids)[None].astype("float32"), np.concatenate(strides)[None].astype("float32")


def _heads(grid: Array, stride: Array) -> Arrays:
    """Return what a head says of a picture with forty things in it: many anchors see each, a little differently."""
    random = np.random.default_rng(0)
    raw = random.standard_normal((1, ANCHORS, 4)).astype("float32") * np.float32(0.3)
    logits = random.standard_normal((1, ANCHORS, CLASSES)).astype("float32") - np.float32(5)
    centres = (grid + 0.5) * stride
    for x, y, width, height in random.uniform([40, 40, 24, 24], [600, 600, 160, 160], (40, 4)):
        near = np.flatnonzero((abs(centres[0] - [x, y]) < [width / 4, height / 4]).all(-1))
        raw[0, near, :2] = ([x, y] - grid[0, near] * stride[0, near]) / stride[0, near] + random.normal(0, 0.1, (len(near), 2))
        raw[0, near, 2:] = np.log([width, height] / stride[0, near]) + random.normal(0, 0.05, (len(near), 2))
        logits[0, near, random.integers(CLASSES)] = random.normal(1, 1.5, len(near))
    return {"raw": raw, "logits": logits}


def _detections(feeds: Arrays) -> list[Array]:
    (grid,), (stride,) = anchors()
    logits, raw = feeds["logits"][0], feeds["raw"][0]
    best = logits.max(-1)
    places = np.argpartition(-best, CANDIDATES)[:CANDIDATES]
    places = places[np.lexsort((places, -best[places]))]
    scores = 1 / (1 + np.exp(-best[places]))
    centre = (raw[places, :2] + grid[places]) * stride[places]
    half = np.exp(raw[places, 2:]) * stride[places] * np.float32(0.5)
    boxes = np.concatenate([centre - half, centre + half], -1)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    left = np.flatnonzero(scores > CONFIDENCE)
    while len(left) and len(kept) < MOST:
        first, left = int(left[0]), left[1:]
        kept.append(first)
        sides = np.minimum(boxes[first, 2:], boxes[left, 2:]) - np.maximum(boxes[first, :2], boxes[left, :2])
        shared = np.maximum(sides, 0).prod(-1)
        left = left[shared <= OVERLAP * (areas[first] + areas[left] - shared)]
    selected = np.stack([np.zeros_like(kept), np.zeros_like(kept), kept], -1).astype("int64")
    return [boxes[None], scores[None], logits[places].argmax(-1)[None], selected]


# ---- (e) classes -----------------------------------------------------------------------------------------------------------------


def top_5() -> Processing:
    """Return float32 [32, 1000] -> softmax -> the five most likely classes of each row."""
    graph = _Graph("top_5")
    logits = graph.take("logits", TensorProto.FLOAT, [32, 1000])
    graph.add("TopK", graph.add("Softmax", logits, axis=-1), np.array([5], "int64"), to="likelihoods classes", axis=-1)
    feeds = {"logits": np.random.default_rng(0).standard_normal((32, 1000)).astype("float32") * np.float32(3)}
    return Processing("top-5", graph.model(likelihoods=TensorProto.FLOAT, classes=TensorProto.INT64), feeds, _top_5)


def _top_5(feeds: Arrays) -> list[Array]:
    logits = feeds["logits"]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares = powers / powers.sum(-1, keepdims=True)
    classes = np.argpartition(-shares, 5, -1)[:, :5]
    found = np.take_along_axis(shares, classes, -1)
    order = np.argsort(-found, -1, kind="stable")
    return [np.take_along_axis(found, order, -1), np.take_along_axis(classes, order, -1)]


# ---- (f) a text from a line of letters -------------------------------------------------------------------------------------------

LENGTH, LETTERS = 1500, 96


def ctc() -> Processing:
    """Return float32 [1500, 96] -> the best letter of each step -> no repetitions, no blanks: int64 of a length that the data tell."""
    graph = _Graph("ctc")
    logits = graph.take("logits", TensorProto.FLOAT, [LENGTH, LETTERS])
    letters = graph.add("ArgMax", logits, axis=1, keepdims=0)
    before = graph.add("Slice", letters, np.array([0], "int64"), np.array([-1], "int64"), np.array([0], "int64"))
    before = graph.add("Concat", np.array([0], "int64"), before, axis=0)
    new = graph.add("Not", graph.add("Equal", letters, before))
    letter = graph.add("Greater", letters, np.array(0, "int64"))
    graph.add("Compress", letters, graph.add("And", new, letter), to="text", axis=0)
    random = np.random.default_rng(0)
    logits_ = random.standard_normal((LENGTH, LETTERS)).astype("float32")
    steps = np.repeat(random.integers(0, LETTERS, LENGTH // 5), 5) * (np.arange(LENGTH) % 5 < 3)
    logits_[np.arange(LENGTH), steps] += 6
    return Processing("ctc", graph.model(text=TensorProto.INT64), {"logits": logits_}, _ctc)


def _ctc(feeds: Arrays) -> list[Array]:
    letters = feeds["logits"].argmax(-1)
    before = np.concatenate([[0], letters[:-1]])
    return [letters[(letters != before) & (letters > 0)]]
