"""Write each exported architecture, static, with inputs for it, into a folder: ``python -m models.keep DIR``. `make bench` runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

from models.catalogue import CATALOGUE
from models.export import arrays, export


def main(folder: Path) -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for architecture in CATALOGUE:
        onnx.save(export(architecture, dynamic=False), folder / f"{architecture.name}.onnx")
        np.savez(folder / f"{architecture.name}.npz", **arrays(architecture, architecture.sizes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
