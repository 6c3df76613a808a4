"""Every small mutant of the functions of a module: a comparison, a condition, a number, a sum or a result is another one, or a statement is missing.

Left alone is what no test should hold: documentation, annotations, logging, the words of errors, assertions, and what an object looks like.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
DROPPED = (ast.Raise, ast.Continue, ast.Break, ast.Delete, ast.AugAssign, ast.For, ast.AsyncFor, ast.While)
LOGGERS = {"log", "logger", "logging"}
LOOKS = {"__repr__", "__str__"}
Function = ast.FunctionDef | ast.AsyncFunctionDef
SHOWN = 100
"""Characters of each side in a mutant's name."""


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    """Function and change; the same as long as the function is."""
    function: str
    """The outermost one that holds the change, qualified by its classes."""
    lines: range
    """Of the statement that is changed. Without having run one of them, no test can notice."""
    parent: ast.AST
    field: str
    index: int | None
    replacement: ast.AST


def shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.AST):
                yield field, index, child


def other(node: ast.AST) -> Iterator[ast.AST]:
    """What an expression or a statement may be instead."""
    if isinstance(node, ast.Compare):
        for nth, operator in enumerate(node.ops):
            for instead in COMPARED[type(operator)]:
                yield ast.Compare(node.left, [*node.ops[:nth], instead(), *node.ops[nth + 1 :]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for nth in range(len(node.values)):
            rest = [*node.values[:nth], *node.values[nth + 1 :]]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int | float):
            yield ast.Constant(node.value + 1)
            yield ast.Constant(node.value - 1)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLED:
        yield ast.Call(ast.Name(CALLED[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node, ast.stmt):
        yield from other_statement(node)


def other_statement(node: ast.stmt) -> Iterator[ast.stmt]:
    if isinstance(node, ast.Return):
        if node.value is None:
            yield ast.Pass()
        elif not isinstance(node.value, ast.Constant) or isinstance(node.value.value, str):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Assign):
        for nth in range(len(node.targets)) if len(node.targets) > 1 else ():
            yield ast.Assign([*node.targets[:nth], *node.targets[nth + 1 :]], node.value)
        if not any(isinstance(name, ast.Name) for target in node.targets for name in getattr(target, "elts", [target])):
            yield ast.Pass()
    elif isinstance(node, DROPPED) or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)):
        yield ast.Pass()


def negated(node: ast.AST, field: str, child: ast.AST) -> bool:
    """Whether the child is a plain condition, which nothing else turns round."""
    plain = not isinstance(child, ast.Compare | ast.BoolOp) and not (isinstance(child, ast.UnaryOp) and isinstance(child.op, ast.Not))
    return plain and isinstance(node, ast.If | ast.While | ast.IfExp) and field == "test"


def last_instead(node: ast.AST, field: str, instead: ast.AST) -> bool:
    """The first is the last of one: what a query answers with."""
    return isinstance(node, ast.Subscript) and field == "slice" and isinstance(instead, ast.Constant) and instead.value == -1


def left_alone(node: ast.AST, field: str, child: ast.AST) -> bool:
    if isinstance(node, Function) and field != "body":
        return True
    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
        called = child.value.func
        return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in LOGGERS
    words = isinstance(node, ast.Raise) or isinstance(child, ast.Assert | ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict")
    return words or field in ("annotation", "returns") or (isinstance(child, Function) and child.name in LOOKS)


def header(node: ast.stmt) -> range:
    """The lines of a statement, without those of the statements in it."""
    body = getattr(node, "body", None)
    last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
    return range(node.lineno, last + 1)


def _mutants(node: ast.AST, path: tuple[str, ...], function: str, lines: range) -> Iterator[Mutant]:
    for field, index, child in children(node):
        if left_alone(node, field, child):
            continue
        of_lines = header(child) if isinstance(child, ast.stmt) else lines
        if function:
            found = [
                *(each for each in other(child) if not last_instead(node, field, each)),
                *([ast.UnaryOp(ast.Not(), child)] if isinstance(child, ast.expr) and negated(node, field, child) else []),
            ]
            for replacement in found:
                ast.copy_location(replacement, child)
                change = f"without {shown(child)}" if isinstance(replacement, ast.Pass) else f"{shown(child)} → {shown(replacement)}"
                yield Mutant(f"{'.'.join(path)}: {change}", function, of_lines, node, field, index, replacement)
        inner = (*path, child.name) if isinstance(child, Function | ast.ClassDef) else path
        yield from _mutants(child, inner, function or (".".join(inner) if isinstance(child, Function) else ""), of_lines)


def mutants(tree: ast.Module) -> list[Mutant]:
    """Names that stand twice get a number."""
    seen: Counter[str] = Counter()
    found = []
    for mutant in _mutants(tree, (), "", range(0)):
        seen[mutant.name] += 1
        nth = seen[mutant.name]
        found.append(mutant if nth == 1 else Mutant(f"{mutant.name} ({nth})", *(getattr(mutant, name) for name in Mutant.__slots__[1:])))
    return found


def functions(code: CodeType) -> Iterator[CodeType]:
    """The code of a module's functions and of its classes' methods; not of functions within functions."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x2 and "<lambda>" not in constant.co_name:  # CO_NEWLOCALS: a function
                yield constant
            else:
                yield from functions(constant)


def compiled(tree: ast.Module, filename: str, mutant: Mutant | None = None) -> dict[tuple[str, int], CodeType]:
    """The functions of the module, by qualified name and first line, one of them changed."""
    undo: Any = None
    if mutant is not None:
        siblings = getattr(mutant.parent, mutant.field)
        undo = siblings if mutant.index is None else siblings[mutant.index]
        _put(mutant, ast.fix_missing_locations(mutant.replacement))
    try:
        return {(code.co_qualname, code.co_firstlineno): code for code in functions(compile(tree, filename, "exec"))}
    finally:
        if mutant is not None:
            _put(mutant, undo)


def _put(mutant: Mutant, node: ast.AST) -> None:
    if mutant.index is None:
        setattr(mutant.parent, mutant.field, node)
    else:
        getattr(mutant.parent, mutant.field)[mutant.index] = node
