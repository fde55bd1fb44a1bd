"""Train the small convolutional network of ``landbridge demo`` on scikit-learn's scanned digits, with NumPy alone.

Writes the weights, rounded to float16, to the file that the demo package ships::

    python examples/train_digits.py

Takes about a minute. The same seed gives the same weights on one machine; libraries of linear algebra differ in the last bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from landbridge.demo.data import MEAN, STD, load_digits
from landbridge.demo.model import WEIGHTS

Array = npt.NDArray[np.float32]

EPOCHS = 40
BATCH = 64
RATE = 2e-3
WIDTHS = {"conv1": (16, 1), "conv2": (32, 16), "conv3": (32, 32)}
HIDDEN = 64


def patches(x: Array) -> Array:
    """Return every 3x3 neighbourhood of ``x`` [n, c, h, w], zero-padded, as [n, h, w, c*9]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    n, c, h, w = x.shape
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(n, h, w, c * 9)


def unpatch(columns: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of `patches`: the sum of every patch's contributions, as [n, c, h, w]."""
    n, c, h, w = shape
    grid = columns.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, c, h + 2, w + 2), np.float32)
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + h, j : j + w] += grid[..., i, j].transpose(0, 3, 1, 2)
    return padded[:, :, 1:-1, 1:-1]


class Network:
    """The network, its forward pass and its gradients."""

    def __init__(self, random: np.random.Generator) -> None:
        """Start from He's initialisation."""
        self.weights: dict[str, Array] = {}
        for name, (out, inside) in WIDTHS.items():
            self.weights[f"{name}.weight"] = _normal(random, (out, inside, 3, 3), inside * 9)
            self.weights[f"{name}.bias"] = np.zeros(out, np.float32)
        for name, (out, inside) in {"fc1": (HIDDEN, 128), "fc2": (10, HIDDEN)}.items():
            self.weights[f"{name}.weight"] = _normal(random, (out, inside), inside)
            self.weights[f"{name}.bias"] = np.zeros(out, np.float32)
        self._tape: list[tuple[str, tuple[Array, ...]]] = []

    def forward(self, x: Array) -> Array:
        """Return the logits [n, 10] of images [n, 1, 8, 8]."""
        self._tape = []
        x = self._pool(self._conv("conv2", self._conv("conv1", x)))
        x = self._pool(self._conv("conv3", x))
        hidden = self._linear("fc1", x.reshape(len(x), -1))
        positive = np.maximum(hidden, 0)
        self._tape.append(("relu", (hidden,)))
        return self._linear("fc2", positive)

    def backward(self, gradient: Array) -> dict[str, Array]:
        """Return the gradients of the weights, given that of the logits."""
        gradients: dict[str, Array] = {}
        for kind, saved in reversed(self._tape):
            if kind == "relu":
                gradient = gradient * (saved[0] > 0)
            elif kind == "pool":
                n, c, h, w = saved[0].shape
                spread = gradient.reshape(n, c, h // 2, 1, w // 2, 1) * saved[1]
                gradient = spread.reshape(n, c, h, w)
            elif kind.startswith("fc"):
                gradients[f"{kind}.weight"] = gradient.T @ saved[0]
                gradients[f"{kind}.bias"] = gradient.sum(0)
                gradient = gradient @ self.weights[f"{kind}.weight"]
            else:
                gradient = self._conv_backward(kind, saved, gradient, gradients)
        return gradients

    def _conv(self, name: str, x: Array) -> Array:
        columns = patches(x)
        weight = self.weights[f"{name}.weight"]
        result = np.maximum(columns @ weight.reshape(len(weight), -1).T + self.weights[f"{name}.bias"], 0)
        self._tape.append((name, (x, columns, result)))
        return np.ascontiguousarray(result.transpose(0, 3, 1, 2))

    def _conv_backward(self, name: str, saved: tuple[Array, ...], gradient: Array, gradients: dict[str, Array]) -> Array:
        x, columns, result = saved
        weight = self.weights[f"{name}.weight"]
        if gradient.ndim == 2:
            gradient = gradient.reshape(len(x), len(weight), *result.shape[1:3])
        flat = gradient.transpose(0, 2, 3, 1) * (result > 0)
        gradients[f"{name}.weight"] = np.einsum("nhwo,nhwk->ok", flat, columns, optimize=True).reshape(weight.shape)
        gradients[f"{name}.bias"] = flat.sum((0, 1, 2))
        return unpatch(flat @ weight.reshape(len(weight), -1), x.shape)

    def _pool(self, x: Array) -> Array:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        result = blocks.max((3, 5))
        winners = (blocks == result[:, :, :, None, :, None]).astype(np.float32)
        self._tape.append(("pool", (x, winners / winners.sum((3, 5), keepdims=True))))
        return result

    def _linear(self, name: str, x: Array) -> Array:
        self._tape.append((name, (x,)))
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]


def _normal(random: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    return (random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def _shifted(images: Array, random: np.random.Generator) -> Array:
    """Return the images each moved by at most one pixel, so that the network does not learn positions by heart."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    moves = random.integers(0, 3, (len(images), 2))
    return np.stack([image[:, i : i + 8, j : j + 8] for image, (i, j) in zip(padded, moves, strict=True)])


def train() -> dict[str, Array]:
    """Return the trained weights by name."""
    random = np.random.default_rng(7)
    data = load_digits()
    images = ((data.train_images / 16.0 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    network = Network(random)
    first = {name: np.zeros_like(weight) for name, weight in network.weights.items()}
    second = {name: np.zeros_like(weight) for name, weight in network.weights.items()}
    step = 0
    for epoch in range(EPOCHS):
        correct, order = 0, random.permutation(len(images))
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            logits = network.forward(_shifted(images[chosen], random))
            truth = data.train_labels[chosen]
            correct += int((logits.argmax(1) == truth).sum())
            softmax = np.exp(logits - logits.max(1, keepdims=True))
            softmax /= softmax.sum(1, keepdims=True)
            softmax[np.arange(len(truth)), truth] -= 1
            step += 1
            for name, gradient in network.backward(softmax / len(truth)).items():
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                unbiased = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                network.weights[name] -= (rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)).astype(np.float32)
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  accuracy on the training images {correct / len(images):.3%}")
    tests = ((data.test_images / 16.0 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    accuracy = (network.forward(tests).argmax(1) == data.test_labels).mean()
    print(f"accuracy on the {len(tests)} test images {accuracy:.3%}")
    return network.weights


def main() -> None:
    """Train and write the weights."""
    path = Path(WEIGHTS)
    np.savez_compressed(path, **{name: weight.astype(np.float16) for name, weight in train().items()})  # type: ignore[arg-type]  # its stub takes no **arrays
    print(f"wrote {path.name}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
