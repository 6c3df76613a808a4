"""Guards and actions as text, to be written out where they are called.

A call costs as much as what most guards and actions do. A method that does nothing but compute, assign, branch and call can stand in its caller as it
is, its parameters replaced; so can the methods of the same kind that it calls. Any other is called as before: one with a loop, one that uses names of its
module, one that is not a plain method, or whose text is not at hand. A text is trusted only if it compiles to the very code that would be called.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Mapping
from functools import cache
from inspect import getattr_static
from types import CodeType, FunctionType
from typing import NamedTuple

_PLAIN = (
    *(ast.Assign, ast.AugAssign, ast.Expr, ast.Assert, ast.If, ast.Return),
    *(ast.Name, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.Tuple, ast.Call, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)
"""What a method may be made of: whatever runs from its first line to its last."""


class _Method(NamedTuple):
    """One that can stand in its caller."""

    parameters: list[str]
    """Without `self`."""
    text: str
    names: frozenset[str]
    """Of its own variables."""


class Inliner:
    """The guards and actions of one class, each called with the variable `argument`; what is written out assigns to none of the names `taken`."""

    def __init__(self, base: type, argument: str, taken: frozenset[str]) -> None:
        self._base = base
        self._argument = argument
        self._taken = taken | {"self", argument}
        self._guards: dict[str, str] = {}
        self._actions: dict[str, list[str]] = {}

    def guard(self, name: str) -> str:
        """An expression."""
        if name not in self._guards:
            self._guards[name] = self._guard(name) or self._call(name)
        return self._guards[name]

    def action(self, name: str) -> list[str]:
        """Lines."""
        if name not in self._actions:
            statements = _inlined(self._base, name, [ast.Name(self._argument)], self._taken)
            self._actions[name] = [self._call(name)] if statements is None else ast.unparse(ast.Module(statements, [])).splitlines()
        return self._actions[name]

    def _guard(self, name: str) -> str | None:
        method = _method(self._base, name)
        body = None if method is None else _body(method, [ast.Name(self._argument)])
        if body is None or len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            return None
        return f"({ast.unparse(body[0].value)})"

    def _call(self, name: str) -> str:
        return f"self.{name}({self._argument})"


def _inlined(base: type, name: str, arguments: list[ast.expr], taken: frozenset[str]) -> list[ast.stmt] | None:
    method = _method(base, name)
    body = None if method is None or method.names & taken else _body(method, arguments)
    if method is None or body is None or isinstance(body[-1], ast.Return):
        return None
    statements: list[ast.stmt] = []
    for each in body:
        called = _called(each)
        inner = None if called is None else _inlined(base, *called, taken | method.names)
        statements += [each] if inner is None else inner
    return statements


def _body(method: _Method, arguments: list[ast.expr]) -> list[ast.stmt] | None:
    """The statements with the arguments in them."""
    if len(arguments) != len(method.parameters):
        return None
    renaming = _Renaming(dict(zip(method.parameters, arguments, strict=True)))
    return [renaming.visit(each) for each in ast.parse(method.text).body]


class _Renaming(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._names.get(node.id, node)


def _called(statement: ast.stmt) -> tuple[str, list[ast.expr]] | None:
    """The method of self that the statement calls, and its arguments, if it does nothing else and they may be repeated."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or call.keywords or not all(isinstance(each, ast.Name | ast.Constant) for each in call.args):
        return None
    method = call.func
    if not isinstance(method, ast.Attribute) or not isinstance(method.value, ast.Name) or method.value.id != "self":
        return None
    return method.attr, call.args


def _method(base: type, name: str) -> _Method | None:
    function = getattr_static(base, name, None)
    return _parsed(function.__code__) if isinstance(function, FunctionType) and function.__defaults__ is None else None


@cache
def _parsed(code: CodeType) -> _Method | None:
    node = _functions(code.co_filename).get((code.co_name, code.co_firstlineno))
    if node is None or not _same(code, node) or node.args.kwonlyargs or node.args.vararg or node.args.kwarg or node.args.posonlyargs:
        return None
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    inside = [each for statement in body for each in ast.walk(statement)]
    if not body or any(isinstance(each, ast.Return) for each in inside if each is not body[-1]) or not all(isinstance(each, _PLAIN) for each in inside):
        return None
    first, *parameters = [each.arg for each in node.args.args]
    loaded = {each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
    names = frozenset(each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))
    if first != "self" or names & {first, *parameters} or loaded - names - {first, *parameters}:
        return None
    return _Method(parameters, ast.unparse(ast.Module(body, [])), names)


@cache
def _functions(file: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """The functions of a source file's classes by name and line."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return {}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {(node.name, node.lineno): node for each in classes for node in each.body if isinstance(node, ast.FunctionDef)}


def _same(code: CodeType, node: ast.FunctionDef) -> bool:
    """Whether the node is the source of the code, and not of what has come in its place since."""
    module = compile(ast.Module([node], []), code.co_filename, "exec", dont_inherit=True)
    return any(_meaning(each) == _meaning(code) for each in module.co_consts if isinstance(each, CodeType))


def _meaning(code: CodeType) -> tuple[object, ...]:
    return code.co_code, code.co_consts, code.co_names, code.co_varnames
