"""``landbridge completion``: what a shell needs to complete verbs, options and their values, made from the command line's own parser."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from landbridge.cli import options
from landbridge.runtime.vendors import registry

_FREE = ("NAME", "N", "S", "R", "A", "K", "SIZE", "DEVICE", "TARGET", "SEED", "CODE", "cpu-")
"""Beginnings of the metavars of options whose values are neither files nor words of a list."""


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "completion",
        execute,
        summary="print a script that completes verbs, options and their values in a shell",
        example="landbridge completion bash   # in ~/.bashrc: source <(landbridge completion bash)",
        lean=True,
    )
    parser.add_argument(
        "shell", choices=SHELLS, help="bash: source it; zsh: write it to _landbridge in a folder of $fpath; fish: pipe it to source"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    from landbridge.cli import parser

    script = SHELLS[arguments.shell](described(parser()))
    options.say(arguments, script.rstrip("\n"), {"shell": arguments.shell, "script": script})
    return 0


@dataclass(frozen=True)
class Option:
    """An option of a verb.

    Attributes:
        names: such as ("-i", "--input").
        words: what it takes; empty where that is anything, or nothing.
        takes: "nothing", "word", "file" or "anything".
        about: its help, in short.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    takes: str
    about: str


@dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
        name: such as "compile".
        about: what it does.
        options: what it can be told.
        words: what may stand for itself; empty where these are files.
    """

    name: str
    about: str
    options: tuple[Option, ...]
    words: tuple[str, ...]


def described(top: argparse.ArgumentParser) -> list[Verb]:
    """Return all verbs of a command line."""
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    about = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    return [_verb(name, about.get(name, ""), parser) for name, parser in verbs.choices.items()]


def _verb(name: str, about: str, parser: argparse.ArgumentParser) -> Verb:
    named = [action for action in parser._actions if action.option_strings]
    words = [str(choice) for action in parser._actions if not action.option_strings for choice in action.choices or ()]
    return Verb(name, _short(about), tuple(_option(action) for action in named), tuple(words))


def _option(action: argparse.Action) -> Option:
    words = tuple(str(choice) for choice in action.choices or ())
    if action.dest in ("simulate", "vendor"):
        words = tuple(registry.vendors())
    metavar = str(action.metavar or action.dest.upper())
    takes = (
        "nothing" if action.nargs == 0 else "word" if words else "anything" if metavar.startswith(_FREE) and "." not in metavar else "file"
    )
    return Option(tuple(action.option_strings), words, takes, _short(action.help or ""))


def _short(text: str) -> str:
    """Return the beginning of a help text, without what shells read as something else."""
    return "".join(character for character in text.partition(":")[0].partition(";")[0] if character not in "'\"[]()$`\\%").strip()


def _bash(verbs: list[Verb]) -> str:
    cases = []
    for verb in verbs:
        for option in verb.options:
            patterns = "|".join(f'"{verb.name} {name}"' for name in option.names)
            if option.takes == "word":
                cases.append(f'        {patterns}) COMPREPLY=($(compgen -W "{" ".join(option.words)}" -- "$current")); return ;;')
            elif option.takes == "anything":
                cases.append(f"        {patterns}) return ;;")
            elif option.takes == "file":
                cases.append(f'        {patterns}) COMPREPLY=($(compgen -f -- "$current")); return ;;')
    listed = "\n".join(f'        {verb.name}) words="{" ".join(name for o in verb.options for name in o.names)}" ;;' for verb in verbs)
    own = "\n".join(f'        {verb.name}) words="{" ".join(verb.words)}" ;;' for verb in verbs if verb.words)
    return f"""# bash completion of landbridge
_landbridge() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" verb="" words="" i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ "${{COMP_WORDS[i]}}" != -* ]]; then verb="${{COMP_WORDS[i]}}"; break; fi
    done
    if [[ -z "$verb" ]]; then
        COMPREPLY=($(compgen -W "{" ".join(verb.name for verb in verbs)} --help --verbose --version" -- "$current"))
        return
    fi
    case "$verb $before" in
{chr(10).join(cases)}
    esac
    if [[ "$current" == -* ]]; then
        case "$verb" in
{listed}
        esac
    else
        case "$verb" in
{own}
        *) COMPREPLY=($(compgen -f -- "$current")); return ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o filenames -F _landbridge landbridge
"""


def _zsh(verbs: list[Verb]) -> str:
    listed = "\n".join(f"        '{verb.name}:{verb.about}'" for verb in verbs)
    cases = []
    for verb in verbs:
        lines = []
        for option in verb.options:
            action = {"nothing": "", "anything": ":value: ", "file": ":file:_files"}.get(option.takes, f":value:({' '.join(option.words)})")
            lines += [f"'*{name}[{option.about}]{action}'" for name in option.names]
        lines.append(f"'*:word:({' '.join(verb.words)})'" if verb.words else "'*:file:_files'")
        cases.append(f"    {verb.name}) _arguments -s " + " ".join(lines) + " ;;")
    return f"""#compdef landbridge
# zsh completion of landbridge
_landbridge() {{
    local -a verbs
    verbs=(
{listed}
    )
    if (( CURRENT == 2 )); then
        _describe 'verb' verbs
        return
    fi
    shift words
    (( CURRENT-- ))
    case "$words[1]" in
{chr(10).join(cases)}
    esac
}}
if [[ "$funcstack[1]" == "_landbridge" ]]; then _landbridge "$@"; else compdef _landbridge landbridge; fi
"""


def _fish(verbs: list[Verb]) -> str:
    lines = ["# fish completion of landbridge", "complete -c landbridge -n __fish_use_subcommand -f"]
    for verb in verbs:
        lines.append(f"complete -c landbridge -n __fish_use_subcommand -f -a {verb.name} -d '{verb.about}'")
        seen = f"-n '__fish_seen_subcommand_from {verb.name}'"
        if verb.words:
            lines.append(f"complete -c landbridge {seen} -f -a '{' '.join(verb.words)}'")
        for option in verb.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            takes = {"nothing": "", "anything": " -x", "file": " -r"}.get(option.takes, f" -x -a '{' '.join(option.words)}'")
            lines.append(f"complete -c landbridge {seen} {names}{takes} -d '{option.about}'")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""By shell, what makes its script."""
