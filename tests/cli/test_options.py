"""Options read from source against the same options found by importing."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from typing import Literal

import pytest

from creo.cli import options
from creo.cli.options import REQUIRED, Option, type_of
from creo.data import catalogue
from creo.registry import models, options_of
from creo.training.settings import Settings


def test_settings_are_read_as_they_are() -> None:
    read = options.of_function("creo.training.settings:Settings")
    real = dataclasses.fields(Settings)
    hints = typing.get_type_hints(Settings)
    assert [(o.name, o.default, o.kind) for o in read] == [(f.name, f.default, hints[f.name]) for f in real]
    assert all(o.help for o in read)


@pytest.mark.parametrize("name", models())
def test_options_of_every_model_are_read_as_they_are(name: str) -> None:
    """Name and default of every option that a command line can spell, and a line of help for each."""
    real = options_of(models()[name].load())
    read = {o.name: o for o in options.of_model(name)}
    assert read.keys() <= real.keys()
    for option in read.values():
        assert option.help, f"{name}: say in the docstring of for_space what {option.name} is"
        if not option.shown:
            assert option.default == real[option.name].default
    for unread in real.keys() - read.keys():
        spelt = str(real[unread].annotation)
        assert not set(spelt.replace("|", " ").split()) <= {"int", "float", "str", "bool", "None"}, unread


@pytest.mark.parametrize("name", catalogue())
def test_options_of_every_data_set_are_read_as_they_are(name: str) -> None:
    real = list(inspect.signature(catalogue()[name].loader()).parameters.values())[1:]
    read = options.of_data(name)
    assert [(o.name, o.default) for o in read] == [(p.name, p.default) for p in real]
    assert all(o.help for o in read)


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ("int", int, "INT"),
        ("float | None", float | None, "FLOAT"),
        ("tuple[int, ...]", tuple[int, ...], "[INT ...]"),
        ("tuple[float, float]", tuple[float, float], "FLOAT FLOAT"),
        ("Literal['a', 'b']", Literal["a", "b"], "{a,b}"),
        ("Literal['a'] | None", Literal["a"] | None, "{a}"),
        ("Sequence[int] | int", tuple[int, ...] | int, "[INT ...]|INT"),
        ("'str'", str, "STR"),
    ],
)
def test_types_are_read_from_annotations(text: str, kind: object, word: str) -> None:
    assert type_of(ast.parse(text, mode="eval").body, ast.parse("")) == kind
    assert Option("x", kind).word == word


@pytest.mark.parametrize("text", ["nn.Module", "Callable[[int], int]", "Tensor | None", "dict[str, int]"])
def test_what_no_command_line_can_spell_is_left_out(text: str) -> None:
    with pytest.raises(options.Unreadable):
        type_of(ast.parse(text, mode="eval").body, ast.parse(""))
    tree = ast.parse(f"def f(a: int, *, b: {text}, c: int = 1 + SIZE): 'x'")
    assert options.of_node(tree.body[0], tree) == [
        Option("a", int, REQUIRED, positional=True),
        Option("c", int | None, None, shown="1 + SIZE"),
    ]


def test_names_of_types_and_constants_are_looked_up_in_the_module() -> None:
    tree = ast.parse(
        "from creo.training.settings import DEFAULT_STEPS as MANY\n"
        "Mode = Literal['a', 'b']\nSIZE: int = 32\n"
        "def f(*, mode: Mode = 'a', size: int = SIZE, steps: int = MANY): 'x'"
    )
    assert options.of_node(tree.body[-1], tree) == [
        Option("mode", Literal["a", "b"], "a"),
        Option("size", int, 32),
        Option("steps", int, 5000),
    ]
