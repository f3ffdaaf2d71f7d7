"""Completion in the shell: a few lines of script that ask `creo __complete WORDS...` what may come next.

The answer is read from the registry, the data catalogue, the options' source code and the folders on disk, without
torch, so it is there before the key is up. Where it is empty the shell completes file names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from creo.cli import COMMANDS, options
from creo.cli.options import Option
from creo.errors import CreoError

_BASH = """\
_creo() {
    local IFS=$'\\n'
    COMPREPLY=($("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _creo creo
"""
_ZSH = """\
#compdef creo
_creo() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _creo creo
"""
_FISH = """\
function __creo_words
    set -l typed (commandline -opc)
    set -l found ($typed[1] __complete $typed[2..] (commandline -ct) 2>/dev/null)
    if test -n "$found[1]"; printf '%s\\n' $found; else; __fish_complete_path (commandline -ct); end
end
complete -c creo -f -a '(__creo_words)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script that completes commands, models, data, options and runs in the shell.

    Put it where the shell looks, e.g. `creo completion bash >> ~/.bashrc`,
    `creo completion zsh > ~/.zfunc/_creo`, `creo completion fish > ~/.config/fish/completions/creo.fish`.

    Args:
        shell: for which shell.
    """
    sys.stdout.write(_SCRIPTS[shell])


def words_for(typed: Sequence[str]) -> list[str]:
    """What the last of the words `typed` after `creo` may become; none where file names are as good."""
    *before, partial = typed or [""]
    try:
        found = _candidates(before, partial)
    except CreoError:  # an unknown command or model: there is nothing to complete
        return []
    return [word for word in found if word.startswith(partial)]


def _candidates(before: Sequence[str], partial: str) -> Iterable[str]:
    if not before:
        return [*COMMANDS, "--help", "--version"]
    command, *args = before
    if command not in COMMANDS:
        return []
    known = _options_of(command, args)
    spelt = {o.spelling: o for o in known if not o.positional}
    last = _last_option(args, spelt)
    if last is not None:
        return _values(last, partial)
    if partial.startswith("-"):
        return [*spelt, "--help", "--debug"]
    return [word for o in known if o.positional for word in _values(o, partial)]


def _options_of(command: str, args: Sequence[str]) -> list[Option]:
    module, _, function = COMMANDS[command].partition(":")
    special = getattr(importlib.import_module(module), f"{function}_options", None)
    return special(args) if special else options.of_function(COMMANDS[command], helps=False)


def _last_option(args: Sequence[str], spelt: dict[str, Option]) -> Option | None:
    """The option that the word being typed is a value of."""
    if not args:
        return None
    option = spelt.get(args[-1].replace("_", "-"))
    return None if option is None or option.kind is bool else option


def _values(option: Option, partial: str) -> Iterable[str]:
    if option.name in ("model", "models"):
        from creo.registry import models

        return models()
    if option.name == "data":
        from creo.data.listing import catalogue

        return catalogue()
    if option.name == "run":
        return runs(partial)
    kinds = [option.kind, *get_args(option.kind)]
    return [str(v) for kind in kinds if get_origin(kind) is Literal for v in get_args(kind)]


def runs(partial: str) -> list[str]:
    """Run folders below `runs/`, or whatever was typed so far."""
    pattern = f"{partial}*" if "/" in partial else "runs/*"
    root = Path("/" if pattern.startswith("/") else ".")
    found = root.glob(pattern.lstrip("/") + "/config.yaml")
    return sorted(str(p.parent) for p in found)
