"""The parts of a compilation that can crash, each in a forked child: code generation, and running the code on made-up inputs."""

from __future__ import annotations

import importlib.util
import json
import logging
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from landbridge import codegen
from landbridge.checking import against, regions
from landbridge.checking.regions import Checked, Level, check_regions
from landbridge.ir.program import Program
from landbridge.isolated import Send, isolated
from landbridge.passes import place_program
from landbridge.runtime.artifact import HOST_LIBRARY, Artifact
from landbridge.runtime.errors import BugError, UnsupportedError, UserError
from landbridge.runtime.plan import Extern, Segment
from landbridge.verdicts import Key, Verdicts, code_digest, key_of

_LOG = logging.getLogger(__name__)


def build_apart(placed: Program, target: str | None, title: str) -> tuple[Artifact | None, Mapping[str, str]]:
    """Return the artifact of a placed program; or None, and by the user's name of a result the operators that keep it from being made.

    Args:
        target: as `landbridge.codegen.build` takes it.
        title: what to call the model.

    Raises:
        UnsupportedError: as `landbridge.codegen.build`, where the operators cannot go to a fallback region.
    """

    def work(send: Send) -> None:
        try:
            send(codegen.build(placed, target, name=title))
        except UnsupportedError as error:
            send(error)
        except (UserError, OSError, MemoryError):
            raise
        except Exception:  # TVM raises anything
            send(BugError(f"the code generator failed: {traceback.format_exc()}", at=title))

    ended = isolated(work)
    made = ended.found[0] if ended.found else None
    if isinstance(made, Artifact):
        return made, {}
    culprits = _culprits(placed, target)
    if not culprits and ended.death:
        culprits = dict.fromkeys(codegen.host_operators(placed), f"the compiler {ended.death} on it and its neighbours")
    if placed.source is not None and culprits:
        return None, culprits
    if made is not None:
        raise made
    listed = ", ".join(f"'{name}' ({reason})" for name, reason in culprits.items())
    raise UnsupportedError(f"the compiler {ended.death}: {listed}", at=title, hint="leave these out, or have an offline model for them")


def _culprits(placed: Program, target: str | None) -> dict[str, str]:
    """Return the operators that cannot be compiled, each found by compiling it alone."""
    found: dict[str, str] = {}
    done = 0
    while True:
        skip = done

        def work(send: Send, skip: int = skip) -> None:
            codegen.try_operators(placed, target, send, skip)

        ended = isolated(work)
        done += sum(reason == "" for _, reason in ended.found)
        found.update({name: f"no native code: {reason}" for name, reason in ended.found if reason})
        if not ended.death or not ended.found:
            return found
        found[ended.found[-1][0]] = f"the compiler {ended.death} on it"


def check_apart(placed: Program, artifact: Artifact, level: Level) -> Checked:
    """Return what the check of an artifact's native code finds; a program that has passed it before is not checked again."""
    segments = [step for step in artifact.plan.steps if isinstance(step, Segment)]
    if level == "off" or not segments:
        return Checked(note="" if level == "off" else "there is no native code")
    if placed.source is None and placed.meaning is not None:
        return _check_meaning(placed, artifact)
    if placed.source is None:
        return Checked(note="the program did not come from an ONNX model")
    source, key = placed.source, _key(placed.source, artifact, level)
    verdicts = Verdicts("checks", code_digest(Path(regions.__file__).parent))
    known = verdicts.get(key)
    if known is not None:
        return Checked(**json.loads(known))

    def work(send: Send) -> None:
        send(check_regions(source, artifact, level, lambda program: codegen.build(place_program(program), name="operators"), send))

    ended = isolated(work)
    if ended.found and isinstance(ended.found[-1], Checked):
        checked = ended.found[-1]
        if not checked.refused:
            verdicts.add(key, json.dumps({**vars(checked), "refused": {}}))
    elif ended.found:
        checked = Checked(dict.fromkeys(codegen.host_operators(placed), f"native code of the model {ended.death} on made-up inputs"))
    else:
        checked = Checked(note=f"the reference {ended.death}")
    if checked.note:
        _LOG.info("native code of '%s' was not checked: %s", artifact.name, checked.note)
    return checked


def _check_meaning(placed: Program, artifact: Artifact) -> Checked:
    """Return what the check of a program finds that did not come from ONNX; its reference is computed in this process."""
    meaning = placed.meaning
    known = against.cases(meaning, artifact)
    if not known:
        return Checked(note=f"no inputs could be made up that {meaning.by} takes")

    ended = isolated(lambda send: send(against.differing(artifact, known)))
    if not ended.found:
        return Checked(dict.fromkeys(codegen.host_operators(placed), f"native code of the model {ended.death} on made-up inputs"))
    wrong, first = ended.found[0], ""
    if wrong:
        everything, build = against.all_values(meaning, artifact, known), partial(codegen.build, name=artifact.name)
        first = next(iter(isolated(lambda send: send(against.first_differing(placed, everything, build))).found), "")
    told = {name: f"its native code differs from {meaning.by}: {first or text}" for name, text in wrong.items()}
    return Checked(told, meaning.by, len(known))


def _key(source: bytes, artifact: Artifact, level: Level) -> Key:
    """Return what decides the verdict: model, code, constants and plan, and who computes the reference."""
    sections = [data for name, data in artifact.sections.items() if name == HOST_LIBRARY or name.startswith("const/")]
    fallbacks = [step.model for step in artifact.plan.steps if isinstance(step, Extern)]
    by = "onnxruntime" if importlib.util.find_spec("onnxruntime") else "onnx"
    plan = json.dumps(artifact.plan.to_json(), sort_keys=True)
    return key_of(level, by, source, plan, *fallbacks, *(bytes(data) for data in sections))
