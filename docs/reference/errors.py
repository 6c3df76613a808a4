"""docs/reference/errors.md: the tree of errors; of each, when it is raised and what to do. Both are its docstring's first two paragraphs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..site import anchor
from .markdown import markdown, paragraphs
from .sources import Definition, definition, module, named

MODULES = ("danube_statemachines.errors", "danube_dispatcher.errors")
ROOT = "DanubeError"
HEAD = """\
# Errors

Every error that is raised on purpose, each with its cause and what to do about it; `make reference` writes this page from the docstrings. They all
are a `DanubeError`. Import them from `danube_dispatcher`, and `InvariantBroken` from `danube_statemachines.exploration`. What raises them: [API](api.md).

The command line prints the text of an error as one line and ends with 1 ([exit codes](cli.md#exit-codes)).
"""


def errors() -> dict[str, Definition]:
    """Those of both packages, by name."""
    found: dict[str, Definition] = {}
    for where in MODULES:
        for name, node, _ in named(module(where).tree.body):
            if name == ROOT or set(bases(node)) & set(found):
                found[name] = definition(where, name)
    return found


def bases(node: ast.stmt) -> list[str]:
    return [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []


def _depth_first(found: dict[str, Definition], name: str, depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, name
    for each, where in found.items():
        if name in bases(where.node):
            yield from _depth_first(found, each, depth + 1)


def page() -> str:
    found = errors()
    links = {name: f"#{anchor(name)}" for name in found}
    tree = list(_depth_first(found, ROOT))
    lines = [HEAD, *(f"{'    ' * depth}- [{name}]({links[name]})" for depth, name in tree)]
    for _, name in tree:
        others = [base for base in bases(found[name].node) if base != "Exception"]
        cause, remedy, *rest = paragraphs(found[name].doc)
        lines += ["", f"## {name}", ""]
        lines += [f"A {' and a '.join(f'[{base}]({links[base]})' if base in links else f'`{base}`' for base in others)}.", ""] if others else []
        lines += [f"**Cause:** {markdown(cause, links)}", "", f"**Remedy:** {markdown(remedy, links)}"]
        lines += [f"\n{markdown(text, links)}" for text in rest]
    return "\n".join(lines) + "\n"
