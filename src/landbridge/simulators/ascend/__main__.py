"""Make an OM file for the simulator: ``python -m landbridge.simulators.ascend in.onnx -o out.om --gears 1,2,4,8``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from landbridge.runtime.errors import ModelError
from landbridge.simulators.ascend.make_om import BORDER_DTYPES, make_om
from landbridge.simulators.common.command import write_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    return write_model(
        lambda: make_om(
            Path(options.model),
            gears=options.gears,
            image_gears=options.image_gears,
            dims_gears=options.dims_gears,
            aipp=_read_text(options.insert_op_conf),
            name=options.name or Path(options.model).stem,
            soc=options.soc,
            fp16=not options.fp32,
            input_dtype=options.input_dtype,
            output_dtype=options.output_dtype,
            tiny=options.tiny,
        ),
        options.output,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m landbridge.simulators.ascend",
        description="Make an Ascend .om from an ONNX model, without the vendor's compiler; only the simulator runs it.",
        epilog="example: python -m landbridge.simulators.ascend backbone.onnx -o backbone.om --gears 1,2,4,8",
    )
    parser.add_argument("model", help="the ONNX file")
    parser.add_argument("-o", "--output", required=True, help="the .om file to write")
    parser.add_argument("--gears", type=_gears, default=(), help="batches to make it for, such as 1,2,4,8")
    parser.add_argument("--image-gears", type=_sizes, default=(), help="image sizes to make it for, such as '224,224;320,320'")
    parser.add_argument("--dims-gears", type=_sizes, default=(), help="extents of all dynamic dimensions, such as '1,16;4,32'")
    parser.add_argument("--insert-op-conf", help="ATC's configuration file for image preprocessing (static AIPP)")
    parser.add_argument("--name", help="name of the model (default: that of the file)")
    parser.add_argument("--soc", default="Ascend310", help="chip it says it is for (default: %(default)s)")
    parser.add_argument("--input-dtype", choices=BORDER_DTYPES, help="type of the floating inputs (default: as in the model)")
    parser.add_argument("--output-dtype", choices=BORDER_DTYPES, help="type of the floating outputs (default: as in the model)")
    parser.add_argument("--fp32", action="store_true", help="compute in the model's own types, not in float16")
    parser.add_argument("--tiny", action="store_true", help="write the container of 2020 (32-bit table, interface in the graph)")
    return parser


def _gears(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers such as 1,2,4,8") from error


def _sizes(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(_gears(part) for part in text.split(";"))


def _read_text(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot be read: {error}", at=path) from error


if __name__ == "__main__":
    sys.exit(main())
