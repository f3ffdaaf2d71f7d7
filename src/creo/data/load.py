"""`load_data`: from a specification to a `Data`.

A specification is `NAME` or `KIND:TARGET`, with options after commas: `digits`, `images:photos,size=32,mode=grey`,
`table:wine.csv,missing=drop`. Options may as well be given as keywords. `Data.name` is the specification with all
options that were given, so `load_data(data.name)` gives the same data again.
"""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creo.data.dataset import Data
from creo.data.listing import catalogue, find_data
from creo.errors import DataError, OptionError, UnknownName, suggestion


@dataclass(frozen=True)
class Request:
    """What a loader is asked for.

    Args:
        spec: the full specification; becomes `Data.name`.
        name: the data set's name without target and options.
        target: what follows the colon: a file, folder or hub name; empty for a named data set.
        data_dir: a folder to look in first, or None.
    """

    spec: str
    name: str
    target: str = ""
    data_dir: Path | None = None

    def path(self) -> Path:
        """The file or folder meant by the target: as given, else below `data_dir`, else below `$CREO_DATA`.

        Raises:
            DataError: it is in none of these places.
        """
        tried = [Path(self.target).expanduser()]
        tried += [
            folder / self.target for folder in (self.data_dir, environment_folder()) if folder is not None
        ]
        for path in tried:
            if path.exists():
                return path
        raise DataError(f"{self.name}:{self.target}: no such file or folder: {', '.join(map(str, tried))}")


def environment_folder() -> Path | None:
    """The folder `$CREO_DATA` names, or None."""
    value = os.environ.get("CREO_DATA")
    return Path(value).expanduser() if value else None


def load_data(spec: str | Data, *, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Data:
    """Load a data set.

    Args:
        spec: a name of `creo data`, or `images:FOLDER`, `table:FILE`, `array:FILE`, `text:FILE`, `hf:NAME`; options
            may follow after commas, as in `images:photos,size=32`. A `Data` is returned as it is.
        data_dir: where to look for files first (then `$CREO_DATA`, then the cache folder, then the publisher).
        **options: the options of that kind of data, see the documentation of its loader.

    Raises:
        UnknownName: no such data set. OptionError: no such option. DataError: files missing, corrupt or unfit.
    """
    if isinstance(spec, Data):
        return spec
    name, target, written = _parse(spec)
    loader = find_data(name + ":" if target is not None else name).loader()
    options = _typed(name, loader, written | options)
    full = name + (f":{target}" if target is not None else "")
    full += "".join(f",{key}={_written(value)}" for key, value in options.items())
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"data_dir {str(folder)!r} is not a folder")
    return loader(Request(full, name, target or "", folder), **options)


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """The keyword options a data set's loader takes."""
    return _options(find_data(name).loader())


def _options(loader: Callable[..., Data]) -> dict[str, inspect.Parameter]:
    parameters = list(inspect.signature(loader, eval_str=True).parameters.values())[1:]
    return {p.name: p for p in parameters}


def _parse(spec: str) -> tuple[str, str | None, dict[str, str]]:
    """`kind:target,key=value` as (kind, target, options); a comma not followed by `key=` belongs to the target."""
    head, *parts = re.split(r",(?=[a-z_]+=)", str(spec).strip())
    written = dict(part.split("=", 1) for part in parts)
    name, colon, target = head.partition(":")
    kinds = [known.rstrip(":") for known in catalogue() if known.endswith(":")]
    if colon and name in kinds and not target:
        raise DataError(f"{name}: needs a target: {catalogue()[name + ':'].summary}")
    if not colon and name in kinds:
        raise UnknownName(f"no data set named {name!r}; write {catalogue()[name + ':'].summary}")
    if colon and name not in kinds:
        raise UnknownName(f"no kind of data {name!r} in {spec!r}{suggestion(name, kinds)}")
    return name, target if colon else None, written


def _typed(name: str, loader: Callable[..., Data], given: Mapping[str, Any]) -> dict[str, Any]:
    known = _options(loader)
    for key in given:
        if key not in known:
            has = suggestion(key, known) if known else "; it has none"
            raise OptionError(f"data {name!r} has no option {key!r}{has}")
    return {key: _convert(name, known[key], value) for key, value in given.items()}


def _convert(name: str, option: inspect.Parameter, value: Any) -> Any:
    """`value` as the option's annotation wants it; texts (from a specification) are read."""
    union = isinstance(option.annotation, types.UnionType)
    wanted = typing.get_args(option.annotation) if union else (option.annotation,)
    if value is None and type(None) in wanted:
        return None
    for kind in (k for k in wanted if k is not type(None)):
        try:
            return _as(kind, value)
        except (TypeError, ValueError):
            continue
    raise OptionError(f"data {name!r}: option {option.name} must be {_describe(wanted)}; received {value!r}")


def _describe(wanted: tuple[Any, ...]) -> str:
    """The kinds of value an option takes, in words."""
    words = []
    for kind in wanted:
        choices = typing.get_args(kind)
        if typing.get_origin(kind) is typing.Literal:
            words.append("one of " + ", ".join(map(repr, choices)))
        else:
            words.append({tuple: "names joined by +", type(None): "left out"}.get(
                typing.get_origin(kind) or kind, getattr(kind, "__name__", str(kind))))  # fmt: skip
    return " or ".join(words)


def _as(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        if value not in typing.get_args(kind):
            raise ValueError
        return value
    if origin is tuple:
        return tuple(value.split("+")) if isinstance(value, str) else tuple(map(str, value))
    if isinstance(value, bool) or (isinstance(value, float) and kind is int and value != int(value)):
        raise TypeError
    return kind(value)


def _written(value: Any) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)
