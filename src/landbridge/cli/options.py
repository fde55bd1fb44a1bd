"""What several verbs share: their parsers' manners, and options that are small languages."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from landbridge.cli.progress import Progress
from landbridge.runtime.errors import UsageError

Verbs = Any
"""What ``ArgumentParser.add_subparsers`` returns; its type is private to argparse."""


class WrongWords(Exception):
    """Words of a command line that no verb or option takes.

    Attributes:
        error: what is wrong.
        usage: of the verb, to be shown before the message.
    """

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.error = UsageError(message, code="LB1101")
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """A parser whose errors are errors of Landbridge: with a code, and as JSON where that was asked for."""

    def error(self, message: str) -> NoReturn:
        """Raise `WrongWords`."""
        raise WrongWords(message, self.format_usage())


def verb(
    verbs: Verbs,
    name: str,
    execute: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    example: str,
    lean: bool = False,
    tells: bool = True,
) -> Parser:
    """Add a verb whose ``--help`` ends with a working example, and return its parser.

    Args:
        lean: it works where only the runtime is installed.
        tells: what takes long is told; a verb that tells it by itself says no.
    """
    needs = "" if lean else "\nneeds the compiler: pip install 'landbridge[compiler]'"
    parser: Parser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}{needs}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="tell nothing of what takes long, and no warnings")
    parser.set_defaults(execute=execute, parser=parser, tells=tells)
    return parser


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """Add ``--simulate``."""
    parser.add_argument(
        "--simulate",
        metavar="V,…",
        default="",
        help="vendors whose simulator stands in for the hardware, such as atlas (also LANDBRIDGE_SIMULATE)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="on how many threads host code computes (default: LANDBRIDGE_NUM_THREADS, else as there are processors)",
    )


def simulated(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the vendors that ``--simulate`` names."""
    return tuple(name.strip() for name in arguments.simulate.split(",") if name.strip())


def say(arguments: argparse.Namespace, text: str, data: Mapping[str, Any]) -> None:
    """Print the result of a verb: ``text``, or ``data`` as JSON where that was asked for."""
    print(json.dumps(data, indent=2) if arguments.json else text)


def progress_of(arguments: argparse.Namespace) -> Progress:
    """Return what tells on standard error that a verb takes long; `working` says what it is doing."""
    return Progress(f"{arguments.verb} {next(_operands(arguments), '')}".strip(), quiet=arguments.quiet or not arguments.tells)


def _operands(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what a verb is about, as far as it is one of the names that verbs have for it."""
    yield from (str(found) for name in ("artifact", "file", "model", "blob", "first") if (found := getattr(arguments, name, None)))


@contextmanager
def working(arguments: argparse.Namespace, what: str) -> Iterator[Progress]:
    """Say that ``what``, such as "reading detector.onnx", is what takes long, if it does."""
    progress: Progress = arguments.progress
    progress.now(what)
    yield progress


def progress(text: str) -> None:
    """Tell on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Region:
    """The argument of ``--replace`` and ``--offload``.

    Attributes:
        device: such as "atlas0"; that of the first blob.
        blobs: device and file of each offline model, in the order in which they are tried; none for ``--offload``.
        inputs: names of the tensors where the region begins.
        outputs: names of the tensors where it ends.
        fallback: the vendor that runs the region where no blob can; None for nobody.
        options: of the offline models or the vendor's compiler.
    """

    device: str
    blobs: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fallback: str | None
    options: dict[str, str]


def region(text: str, *, option: str, with_file: bool) -> Region:
    """Return the region that a text describes.

    Args:
        text: ``DEVICE:FILE;inputs=a,b;outputs=c``, with further blobs as ``DEVICE:FILE|DEVICE:FILE``; or, without files,
            ``DEVICE;inputs=…;outputs=…``. ``fallback=VENDOR`` is the region's; the rest are options of the blobs or the compiler.
        option: that it was given to.
        with_file: which form it has.

    Raises:
        UsageError: it is not of that form.
    """
    form = "DEVICE:FILE;inputs=a,b;outputs=c" if with_file else "DEVICE;inputs=a,b;outputs=c"
    head, *fields = text.split(";")
    pairs = [blob.partition(":")[::2] for blob in head.split("|")] if with_file else []
    devices = [device for device, _ in pairs] if with_file else [head]
    given = dict(field.partition("=")[::2] for field in fields)
    names = {key: tuple(name for name in given.pop(key, "").split(",") if name) for key in ("inputs", "outputs")}
    if not all((*devices, *(file for _, file in pairs), *names.values(), *given.keys(), *given.values())):
        raise UsageError(f"{option} '{text}' is not of the form {form}", hint=f"quote it for the shell: {option} '{form}'", code="LB1115")
    fallback = given.pop("fallback", None)
    return Region(devices[0], tuple((device, file) for device, file in pairs), names["inputs"], names["outputs"], fallback, given)


def shapes(texts: list[str]) -> dict[str, list[int | str]]:
    """Return the shapes that ``NAME=1,3,n`` arguments give.

    Raises:
        UsageError: one is not of that form.
    """
    found: dict[str, list[int | str]] = {}
    for text in texts:
        name, separator, extents = text.rpartition("=")
        if not separator or not name:
            raise UsageError(
                f"--shape '{text}' is not of the form NAME=1,3,224,224", hint="a word in place of a number names a dimension", code="LB1115"
            )
        found[name] = [int(extent) if extent.lstrip("-").isdigit() else extent for extent in extents.split(",") if extent]
    return found


def numbers(texts: list[str], *, option: str) -> dict[str, int]:
    """Return what ``NAME=NUMBER`` arguments give.

    Raises:
        UsageError: one is not of that form.
    """
    found = {}
    for text in texts:
        name, separator, number = text.partition("=")
        if not separator or not number.isdigit():
            raise UsageError(f"{option} '{text}' is not of the form NAME=NUMBER", hint=f"as in {option} n=4", code="LB1115")
        found[name] = int(number)
    return found
