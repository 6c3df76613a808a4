"""What the sources say of a public name: where it is defined, its signature as written, its docstring. Read, not run: it is the same on every Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"danube_dispatcher": "runtime", "danube_statemachines": "statemachines"}
BROAD = 96
"""Characters of a signature on one line at most."""


class Module(NamedTuple):
    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def doc(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def exported(self) -> list[str]:
        """`__all__`, or what a module defines without one that has a docstring and no underscore."""
        for name, node, _ in named(self.tree.body):
            if name == "__all__" and isinstance(node, ast.Assign):
                return list(ast.literal_eval(node.value))
        return [name for name, _, doc in named(self.tree.body) if doc and not name.startswith("_")]

    def written(self, node: ast.AST | None) -> str:
        """The text of a node, on one line."""
        text = re.sub(r"\s+", " ", (node and ast.get_source_segment(self.text, node)) or "")
        return re.sub(r",? ([)\]}])", r"\1", re.sub(r"([(\[{]) ", r"\1", text))


@cache
def module(name: str) -> Module:
    base = ROOT.joinpath(FOLDERS[name.partition(".")[0]], *name.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    return Module(name, path, text, ast.parse(text))


class Definition(NamedTuple):
    module: Module
    name: str
    node: ast.stmt
    doc: str


def named(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt, str]]:
    """What a module or class defines: the name, its statement and its docstring. That of a variable is the string behind it."""
    for node, after in zip_longest(body, body[1:]):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for each in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(each, ast.Name | ast.Attribute):  # an attribute: of self, in __init__
                        yield each.id if isinstance(each, ast.Name) else each.attr, node, cleandoc(str(said))


@cache
def definition(where: str, name: str) -> Definition:
    """Where the name that a module exports is defined, through all that hand it on."""
    source = module(where)
    for each, node, doc in named(source.tree.body):
        if each == name:
            return Definition(source, name, node, doc)
    for imported in ast.walk(source.tree):
        if isinstance(imported, ast.ImportFrom):
            for alias in imported.names:
                if (alias.asname or alias.name) == name:
                    return definition(_target(source, imported), alias.name)
    raise LookupError(f"{where} defines no {name}")


def _target(source: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.name.split(".")
    package = parts if source.path.name == "__init__.py" else parts[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def parameters(source: Module, arguments: ast.arguments) -> list[str]:
    """As written, without `self` and `cls`."""

    def one(argument: ast.arg, default: ast.expr | None = None, stars: str = "") -> str:
        typed = f"{argument.arg}: {source.written(argument.annotation)}" if argument.annotation else argument.arg
        return stars + typed + (f"{' = ' if argument.annotation else '='}{source.written(default)}" if default else "")

    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    found = [one(argument, default) for argument, default in zip(plain, defaults, strict=True)]
    if arguments.posonlyargs:
        found.insert(len(arguments.posonlyargs), "/")
    if plain and plain[0].arg in {"self", "cls"}:
        del found[0]
    if arguments.vararg:
        found.append(one(arguments.vararg, stars="*"))
    elif arguments.kwonlyargs:
        found.append("*")
    found += [one(argument, default) for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*found, one(arguments.kwarg, stars="**")] if arguments.kwarg else found


def call(head: str, given: list[str], returns: str = "") -> str:
    """A signature: on one line if it fits, otherwise with a line for each parameter."""
    tail = f" -> {returns}" if returns else ""
    line = f"{head}({', '.join(given)}){tail}"
    return line if len(line) <= BROAD else f"{head}(\n" + "".join(f"    {each},\n" for each in given) + f"){tail}"
