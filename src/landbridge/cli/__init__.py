"""The command line, in the manner of ``tvmc``: ``landbridge VERB …``.

Results go to standard output, everything else to standard error. Exit status: 0 success, 1 a failure with one clear message,
2 wrong usage, 70 a bug of Landbridge (with the traceback).
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import traceback
from collections.abc import Sequence

from landbridge import COMPILER_PACKAGES, __version__
from landbridge.cli import (
    bench,
    capture,
    completion,
    demo,
    diff,
    doctor,
    explain,
    export,
    inspect,
    keygen,
    options,
    report,
    reproduce,
    run,
    selftest,
    sign,
    split,
    swap,
    verify,
    verify_signature,
)
from landbridge.cli import compile as compile_verb
from landbridge.cli.colours import paint
from landbridge.runtime.errors import BugError, LandbridgeError, UserError, did_you_mean

VERBS = (
    compile_verb,
    run,
    selftest,
    verify,
    bench,
    inspect,
    capture,
    doctor,
    report,
    diff,
    swap,
    split,
    export,
    reproduce,
    keygen,
    sign,
    verify_signature,
    explain,
    completion,
    demo,
)
"""One module a verb, in the order of the help: each has ``add(subparsers)`` and ``execute(arguments)``."""


def parser() -> options.Parser:
    """Return the parser of the whole command line."""
    about = "Compile models with several vendors' offline models in them into one artifact, and run it."
    top = options.Parser(prog="landbridge", description=about, allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"landbridge {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="log what happens to standard error")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    for module in VERBS:
        module.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; ``argv`` is without the program's name."""
    words = sys.argv[1:] if argv is None else argv
    in_json = "--json" in words
    try:
        arguments = _parse(words)
        level = logging.INFO if arguments.verbose else logging.ERROR if arguments.quiet else logging.WARNING
        logging.basicConfig(stream=sys.stderr, level=level, format="%(name)s: %(message)s")
        status = _execute(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # --help, --version
        return int(stop.code or 0)
    except options.WrongWords as wrong:
        sys.stderr.write(wrong.usage)
        return _fail(wrong.error, in_json)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone; nothing is left to say
        return 0
    except (LandbridgeError, ImportError, OSError) as error:
        return _fail(error, in_json)
    return status


def _execute(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    try:
        with options.progress_of(arguments) as arguments.progress:
            return int(arguments.execute(arguments))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in COMPILER_PACKAGES:
            raise
        raise UserError(f"{arguments.verb} needs the compiler", hint="pip install 'landbridge[compiler]'", code="LB1002") from error


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what the words of a command line mean.

    Raises:
        WrongWords: a verb or an option that there is not, with the one that was probably meant.
        SystemExit: all was said, as by --help.
    """
    top = parser()
    _check_verb(top, words)
    arguments, unknown = top.parse_known_args(words)
    if arguments.verb is None:
        top.error("no verb is given; landbridge --help lists them")
    _check_options(arguments, unknown)
    return arguments


def _check_verb(top: options.Parser, words: Sequence[str]) -> None:
    """End as wrong usage where there is no such verb, with the one that was probably meant."""
    known = [module.__name__.rpartition(".")[2].replace("_", "-") for module in VERBS]
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is not None and verb not in known:
        top.error(f"there is no verb '{verb}': {did_you_mean(verb, known)}")


def _check_options(arguments: argparse.Namespace, unknown: Sequence[str]) -> None:
    """End as wrong usage where there are words that no option takes, with the option that was probably meant."""
    if not unknown:
        return
    verb: options.Parser = arguments.parser
    if not unknown[0].startswith("--"):
        verb.error(f"unrecognized arguments: {' '.join(unknown)}")
    name = unknown[0].partition("=")[0]
    known = dict.fromkeys(re.findall(r"--[a-z][a-z-]*", verb.format_help()))
    verb.error(f"there is no option '{name}': {did_you_mean(name, known)}")


def _fail(error: Exception, in_json: bool) -> int:
    """Tell a failure and return its exit status."""
    told = _told(error)
    if in_json:
        details = {"code": told.code, "kind": type(told).__name__, "message": told.message}
        details |= {key: getattr(told, key) for key in ("at", "hint") if getattr(told, key)}
        print(json.dumps({"error": details}, indent=2))
    if isinstance(told, BugError):
        traceback.print_exception(told)
        return told.exit_code
    label, hint = (paint(word, colour, sys.stderr) for word, colour in (("error:", "red"), ("hint:", "cyan")))
    print(f"{label} {str(told).replace('hint:', hint)}\n  {told.reference}", file=sys.stderr)
    return told.exit_code


def _told(error: Exception) -> LandbridgeError:
    """Return an error as one with a code."""
    if isinstance(error, LandbridgeError):
        return error
    if isinstance(error, OSError):
        return UserError(f"{error.filename}: {error.strerror}" if error.filename else str(error), code="LB1001")
    return UserError(str(error), code="LB1002")
