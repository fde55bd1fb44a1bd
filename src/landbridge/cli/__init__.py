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
    demo,
    diff,
    doctor,
    export,
    inspect,
    keygen,
    report,
    run,
    sign,
    split,
    swap,
    verify,
    verify_signature,
)
from landbridge.cli import compile as compile_verb
from landbridge.runtime.errors import BugError, LandbridgeError, UserError, did_you_mean

VERBS = (
    compile_verb,
    run,
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
    keygen,
    sign,
    verify_signature,
    demo,
)
"""One module a verb, in the order of the help: each has ``add(subparsers)`` and ``execute(arguments)``."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    about = "Compile models with several vendors' offline models in them into one artifact, and run it."
    top = argparse.ArgumentParser(prog="landbridge", description=about, allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"landbridge {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="log what happens to standard error")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in VERBS:
        module.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; ``argv`` is without the program's name."""
    words = sys.argv[1:] if argv is None else argv
    try:
        top = parser()
        _check_verb(top, words)
        arguments, unknown = top.parse_known_args(words)
        _check_options(arguments, unknown)
    except SystemExit as stop:
        return int(stop.code or 0)
    level = logging.INFO if arguments.verbose else logging.ERROR if arguments.quiet else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(name)s: %(message)s")
    try:
        status = arguments.execute(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone; nothing is left to say
        return 0
    except BugError:
        traceback.print_exc()
        return BugError.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in COMPILER_PACKAGES:
            raise
        return _fail(arguments, UserError(f"{arguments.verb} needs the compiler", hint="pip install 'landbridge[compiler]'"))
    except (LandbridgeError, ImportError, OSError) as error:
        return _fail(arguments, error)
    return int(status)


def _check_verb(top: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """End as wrong usage where there is no such verb, with the one that was probably meant."""
    known = [module.__name__.rpartition(".")[2].replace("_", "-") for module in VERBS]
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is not None and verb not in known:
        top.error(f"there is no verb '{verb}': {did_you_mean(verb, known)}")


def _check_options(arguments: argparse.Namespace, unknown: Sequence[str]) -> None:
    """End as wrong usage where there are words that no option takes, with the option that was probably meant."""
    if not unknown:
        return
    verb: argparse.ArgumentParser = arguments.parser
    if not unknown[0].startswith("--"):
        verb.error(f"unrecognized arguments: {' '.join(unknown)}")
    name = unknown[0].partition("=")[0]
    known = dict.fromkeys(re.findall(r"--[a-z][a-z-]*", verb.format_help()))
    verb.error(f"there is no option '{name}': {did_you_mean(name, known)}")


def _fail(arguments: argparse.Namespace, error: Exception) -> int:
    """Tell a failure and return its exit status."""
    if isinstance(error, OSError):
        error = LandbridgeError(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if getattr(arguments, "json", False):
        details = {"kind": type(error).__name__, "message": getattr(error, "message", str(error))}
        details |= {key: getattr(error, key) for key in ("at", "hint") if getattr(error, key, "")}
        print(json.dumps({"error": details}, indent=2))
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code if isinstance(error, LandbridgeError) else 1
