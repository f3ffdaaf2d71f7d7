"""Options read from source code: name, type, default and help of every parameter, without importing anything.

A parameter `layers: int = 8` with `layers: number of couplings.` in the docstring's `Args` becomes `Option("layers",
int, 8, "number of couplings.")`. Positional parameters become positional arguments. Reading the syntax tree takes
milliseconds where importing a model's module imports torch for seconds. A parameter that cannot be written on a
command line (a network, a function) is no option: it is for Python only.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from creo.errors import CreoError

#: Default of an argument that must be given.
REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
_SCALARS: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Path": Path}


@dataclass(frozen=True)
class Option:
    """One command-line option.

    Args:
        name: the Python parameter it sets.
        kind: its type.
        default: its value when not given; `REQUIRED` if it must be.
        help: what the docstring says about it.
        positional: given by position rather than by name.
        flag: its spelling, when that is not `name`.
        shown: how help spells a default that is an expression or decided elsewhere; such options are None unless given.
    """

    name: str
    kind: Any
    default: Any = REQUIRED
    help: str = ""
    positional: bool = False
    flag: str = ""
    shown: str = ""

    @property
    def spelling(self) -> str:
        """As typed: `--batch-size`, `-n`."""
        if len(self.name) == 1:
            return f"-{self.name}"
        return "--" + (self.flag or self.name).replace("_", "-")

    @property
    def word(self) -> str:
        """What help writes for a value: `INT`, `{cosine,constant}`."""
        return _word(self.kind)


class Unreadable(CreoError):
    """A type that no command line can spell."""


def source(path: str) -> ast.Module:
    """The syntax tree of a module of this package named like `creo.flows.realnvp`, not imported."""
    base = Path(__file__).parents[1].joinpath(*path.split(".")[1:])
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not path.startswith("creo.") or not file.exists():
        raise Unreadable(f"no source of {path} in this package")
    return ast.parse(file.read_text(encoding="utf-8"))


def find(names: str, tree: ast.Module) -> Any:
    """The syntax tree of the class or function called `name` or `Class.name` in a module."""
    node: Any = tree
    for name in names.split("."):
        kinds = (ast.ClassDef, ast.FunctionDef)
        node = next((n for n in node.body if isinstance(n, kinds) and n.name == name), None)
        if node is None:
            raise Unreadable(f"no source of {names}")
    return node


def _at(path: str) -> tuple[Any, ast.Module]:
    """The syntax trees of what is at `module:name`, and of its module."""
    module, _, names = path.partition(":")
    tree = source(module)
    return find(names, tree), tree


def summary(path: str) -> str:
    """The first line of the docstring of the function at `module:function`."""
    return description(path).partition("\n")[0]


def description(path: str) -> str:
    """The docstring of the function at `module:function` up to its `Args`."""
    return (ast.get_docstring(_at(path)[0]) or "").partition("\nArgs:")[0].strip()


def of_function(path: str, *, helps: bool = True) -> list[Option]:
    """Options of the function or dataclass at `module:name`; without `helps` faster."""
    return of_node(*_at(path), helps=helps)


def of_model(name: str, *, helps: bool = True) -> list[Option]:
    """Options of a registered model: the parameters of its `for_space`, read without importing its class."""
    from creo.registry import find as registered

    entry = registered(name)
    module, _, cls = entry.path.partition(":")
    try:
        tree = source(module)
        node, owner = find(f"{cls}.for_space", tree), find(cls, tree)
    except Unreadable:  # inherited, or of another package
        node, owner, tree = _imported(entry.load())
    said = arguments_said(ast.get_docstring(owner)) if helps else {}
    return [
        replace(o, positional=False, help=o.help or said.get(o.name, ""))
        for o in of_node(node, tree, helps=helps)  # space and condition are nothing a command line can spell
    ]


def _imported(cls: type) -> tuple[Any, Any, ast.Module]:
    """The syntax trees of a class's `for_space`, of the class that defines it, and of that one's module."""
    import inspect

    owner = next(base for base in cls.__mro__ if "for_space" in vars(base))
    tree = ast.parse(inspect.getsource(inspect.getmodule(owner)))  # type: ignore[arg-type]
    name = owner.__qualname__
    return find(f"{name}.for_space", tree), find(name, tree), tree


def of_data(spec: str, *, helps: bool = True) -> list[Option]:
    """Options of the loader of a data set: its keyword-only parameters."""
    from creo.data.listing import find_data

    kind, colon, _ = spec.partition(":")
    name = kind + colon if colon else kind.partition(",")[0]
    found = of_function(find_data(name).path, helps=helps)
    return [o for o in found if not o.positional]


def of_node(node: Any, tree: ast.Module, *, helps: bool = True) -> list[Option]:
    """Options of a function or dataclass of a module, those that no command line can spell left out."""
    parameters = _fields(node) if isinstance(node, ast.ClassDef) else _parameters(node)
    said = arguments_said(ast.get_docstring(node)) if helps else {}
    options = []
    for name, annotation, default, positional in parameters:
        try:
            option = _option(name, annotation, default, positional, tree)
        except Unreadable:
            continue
        options.append(replace(option, help=said.get(name, "")))
    return options


def arguments_said(docstring: str | None) -> dict[str, str]:
    """What a docstring's `Args` section says about each parameter, on one line each."""
    from docstring_parser.google import parse

    found: dict[str, str] = {}
    for parameter in parse(docstring or "").params:
        for name in parameter.arg_name.split(","):
            found[name.strip()] = " ".join((parameter.description or "").split())
    return found


def _fields(node: ast.ClassDef) -> list[tuple[str, ast.expr | None, ast.expr | None, bool]]:
    return [
        (s.target.id, s.annotation, s.value, False)
        for s in node.body
        if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
    ]


def _parameters(node: ast.FunctionDef) -> list[tuple[str, ast.expr | None, ast.expr | None, bool]]:
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(a.defaults))
    pairs = [(p, d, True) for p, d in zip(positional, missing + list(a.defaults), strict=True)]
    pairs += [(p, d, False) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return [(p.arg, p.annotation, d, where) for p, d, where in pairs]


def _option(
    name: str, annotation: ast.expr | None, default: ast.expr | None, positional: bool, tree: ast.Module
) -> Option:
    if annotation is None:
        raise Unreadable(f"{name} has no type")
    kind = type_of(annotation, tree)
    if default is None:
        return Option(name, kind, REQUIRED, positional=positional)
    if isinstance(default, ast.Name):
        default = named(default.id, tree) or default
    try:
        return Option(name, kind, ast.literal_eval(default), positional=positional)
    except ValueError:
        return Option(name, kind | None, None, positional=positional, shown=ast.unparse(default))


def named(name: str, tree: ast.Module) -> ast.expr | None:
    """What a module assigns to `name` (an alias of a type, a constant), looked up where it imports it from."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return value
            case ast.AnnAssign(target=ast.Name(id=found), value=value) if found == name:
                return value
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("creo."):
                original = next((a.name for a in names if (a.asname or a.name) == name), None)
                if original:
                    return named(original, source(module))
    return None


def type_of(node: ast.expr, tree: ast.Module) -> Any:
    """The type an annotation's syntax tree means: scalars, None, `|`, tuple[...], Literal[...], names of these."""
    match node:
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Name(id=name) if (value := named(name, tree)) is not None:
            return type_of(value, tree)
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return type_of(ast.parse(text, mode="eval").body, tree)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return type_of(left, tree) | type_of(right, tree)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = ast.literal_eval(choices)
            return Literal[values]
        case ast.Subscript(value=ast.Name(id="tuple" | "Sequence" | "list"), slice=inner):
            return _tuple_of(inner, tree)
    raise Unreadable(f"no command line spells the type {ast.unparse(node)}")


def _tuple_of(inner: ast.expr, tree: ast.Module) -> Any:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner, ast.Constant(value=...)]
    kinds = tuple(... if isinstance(p, ast.Constant) and p.value is ... else type_of(p, tree) for p in parts)
    return tuple[kinds]  # type: ignore[valid-type]


def _word(kind: Any) -> str:
    parts = [p for p in get_args(kind) if p is not type(None) and p is not ...]
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    if get_origin(kind) is tuple:
        words = " ".join(map(_word, parts))
        return f"[{words} ...]" if ... in get_args(kind) else words
    return "|".join(map(_word, parts)) or kind.__name__.upper()
