"""The images of the demo: the 1,797 scanned digits of scikit-learn, as a camera would give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landbridge.runtime.errors import UserError

MEAN, STD = 0.3051, 0.3759
"""Of all pixels of the training images, scaled to 0..1."""

TEST_EVERY = 4
"""Every fourth image is kept for the test."""


@dataclass(frozen=True)
class Digits:
    """Images, uint8 [n, 8, 8, 1] with values 0 to 16, and the digits they show, int64 [n]."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def load_digits() -> Digits:
    """Return the digits, split into images to learn from and images to test with.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets  # noqa: PLC0415 - only the demo needs it
    except ModuleNotFoundError as error:
        raise UserError(
            "the demo's images come with scikit-learn, which is not installed", hint="pip install 'landbridge[demo]'", code="LB1002"
        ) from error
    bunch = datasets.load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(images)) % TEST_EVERY == 0
    return Digits(images[~test], labels[~test], images[test], labels[test])
