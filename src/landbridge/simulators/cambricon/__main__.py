"""Make an offline model for the simulator: ``python -m landbridge.simulators.cambricon in.onnx -o out.cambricon``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from landbridge.runtime.vendors.cambricon.format import CORES
from landbridge.simulators.ascend.make_om import BORDER_DTYPES
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from landbridge.simulators.common.command import write_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    return write_model(
        lambda: make_cambricon(
            {options.symbol: Path(options.model)},
            tensor_dim_mutable=options.tensor_dim_mutable,
            sizes=dict(options.size),
            input_dtype=options.input_dtype,
            output_dtype=options.output_dtype,
            core=options.core,
        ),
        options.output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m landbridge.simulators.cambricon",
        description="Make a Cambricon offline model from an ONNX model, without the vendor's compiler; only the simulator runs it.",
        epilog="example: python -m landbridge.simulators.cambricon backbone.onnx -o backbone.cambricon --size batch=4",
    )
    parser.add_argument("model", help="the ONNX file")
    parser.add_argument("-o", "--output", required=True, help="the file to write")
    parser.add_argument("--symbol", default="subnet0", help="name of the function (default: %(default)s)")
    parser.add_argument("--tensor-dim-mutable", action="store_true", help="the caller may choose the model's dynamic dimensions")
    parser.add_argument(
        "--size", type=_size, action="append", default=[], help="what a dynamic dimension is made for, such as h=32 (else 1)"
    )
    parser.add_argument("--core", choices=list(CORES.values()), default="MLU270", help="chip it is for (default: %(default)s)")
    parser.add_argument("--input-dtype", choices=BORDER_DTYPES, help="type of the floating inputs (default: as in the model)")
    parser.add_argument("--output-dtype", choices=BORDER_DTYPES, help="type of the floating outputs (default: as in the model)")
    return parser


def _size(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")
    if not separator or not name or not number.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form h=32")
    return name, int(number)


if __name__ == "__main__":
    sys.exit(main())
