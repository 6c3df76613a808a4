"""docs/reference/api.md: every public name, from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ..site import anchor
from .markdown import markdown, meanings, paragraphs
from .sources import Definition, Module, call, definition, module, named, parameters

HEAD = """\
# API

Every public name, with its signature as it is written and its docstring; `make reference` writes this page from the sources. What is not listed is not
promised: a method without a docstring is a guard or an action of a machine's table, or something for the package itself.

Times are in seconds, sizes in bytes. Bad input raises `InvalidArgument` before anything has changed; the other errors are on a page of their own,
[errors](errors.md). Defaults and limits: [configuration](configuration.md).
"""


class Group(NamedTuple):
    title: str
    module: str
    names: str = ""
    """The first ones, in this order. Empty: all that the module exports."""
    about: str = ""
    """The module whose docstring stands before them."""


GROUPS = [
    Group("Topics and subscriptions", "danube_dispatcher", "Topic Subscription Consumer Delivery Message FailurePolicy"),
    Group("Dispatchers", "danube_dispatcher", "Dispatcher SubscriptionEngine Observer Outcome"),
    Group("Snapshots", "danube_dispatcher", "Status ConsumerStatus Counts Lag Explanation Leftover SubscriptionInfo"),
    Group("Testing on virtual time", "danube_dispatcher.virtual_time"),
    Group("Drawing machines", "danube_dispatcher.diagrams", "render dot mermaid read_fired FORMATS STYLES", about="danube_dispatcher.diagrams"),
    Group("Telling runs", "danube_dispatcher.sequence"),
    Group("A page in the browser", "danube_dispatcher.live"),
    Group("Stores", "danube_dispatcher.storage", "open_store", about="danube_dispatcher.storage"),
    Group(
        "The four machines",
        "danube_statemachines",
        "RELIABLE_EXCLUSIVE RELIABLE_SHARED NON_RELIABLE_EXCLUSIVE NON_RELIABLE_SHARED VARIANTS declare_reliable declare_non_reliable "
        "Reliable NonReliable RosterMachine IDLE DISPATCHING AWAITING_ACK FAILOVER REDELIVERING DEAD_LETTERING BLOCKED CLOSED",
    ),
    Group("Who gets the next message", "danube_statemachines", "Selection SingleActive RoundRobin Roster", about="danube_statemachines.selection"),
    Group("Events", "danube_statemachines", "DeliveryId Nack Extend Lost Replaced", about="danube_statemachines.identity"),
    Group("Effects", "danube_statemachines", "ReliablePort NonReliablePort RosterPort Recorder Settlement Stale", about="danube_statemachines.port"),
    Group(
        "The engine's rules",
        "danube_statemachines",
        "EngineCore Coupling Progress Held Resumed Later LATER Refusal PoisonPolicy advanced backoff FLUSH_INTERVAL FLUSH_MESSAGES",
        about="danube_statemachines.engine",
    ),
    Group("Declaring a machine", "danube_statemachines", "row Declaration Row RowSpec LeanEvent", about="danube_statemachines.declaration"),
    Group("Counting rows", "danube_statemachines.coverage"),
    Group("Exploring", "danube_statemachines.exploration"),
    Group("What a back end must do", "danube_dispatcher.storage.protocols"),
]

INTERNAL = {
    "Consumer": "offer waiting clear end",
    "Dispatcher": "live fail check_idle",
    "SubscriptionEngine": "open attach close lose last_error durable renewed see_renewal stirred dead_letter",
}
"""What has a docstring, but is for the package itself."""


class Entry(NamedTuple):
    title: str
    where: Definition


class Page:
    """Every name once, under the first of its groups."""

    def __init__(self) -> None:
        from .errors import errors

        failures = errors()
        self.links = {name: f"errors.md#{anchor(name)}" for name in failures}
        self.groups: list[tuple[Group, list[Entry]]] = []
        taken = {anchor(group.title) for group in GROUPS}
        for group in GROUPS:
            entries: list[Entry] = []
            for name in group.names.split() or module(group.module).exported:
                found = definition(group.module, name)
                if name in failures or any(entry.where is found for _, entries in self.groups for entry in entries):
                    continue
                if entries and entries[-1].where.node is found.node:  # names of one assignment stand together
                    entries[-1] = Entry(f"{entries[-1].title.partition(' to ')[0]} to {name}", found)
                    continue
                title = f"{name} ({group.module.rpartition('.')[2]})" if anchor(name) in taken else name
                taken.add(anchor(title))
                entries.append(Entry(title, found))
                self.links.setdefault(name, f"#{anchor(title)}")
            self.groups.append((group, entries))
        for _, entries in self.groups:
            for entry in entries:
                for name, _, _ in _methods(entry.where):
                    self.links[f"{entry.where.name}.{name}"] = f"#{anchor(f'{entry.where.name}.{name}')}"

    def text(self) -> str:
        contents = [f"- [{group.title}](#{anchor(group.title)}): {', '.join(_link(entry) for entry in entries)}" for group, entries in self.groups]
        return "\n".join([HEAD, *contents, ""]) + "".join(self._group(group, entries) for group, entries in self.groups)

    def _group(self, group: Group, entries: list[Entry]) -> str:
        about = module(group.about or group.module).doc if group.about or not group.names else ""
        told = "\n\n".join(text for text in paragraphs(about) if not any(name.endswith(".py") for name in meanings(text)))  # nothing about files
        head = f"\n## {group.title}\n\nFrom `{group.module}`.\n"
        return head + (f"\n{markdown(told, self.links)}\n" if told else "") + "".join(self._entry(entry) for entry in entries)

    def _entry(self, entry: Entry) -> str:
        source, _, node, doc = entry.where
        text = f"\n### {entry.title}\n\n```py\n{_signature(entry.where)}\n```\n"
        fields = dict(_fields(entry.where))
        declared = {name: shown for name, (shown, _) in fields.items()}
        if doc:
            text += f"\n{markdown(doc, self.links, declared)}\n"
        for each in _manners(node):
            text += f"\n{each}\n"
        told = {name for paragraph in paragraphs(doc) for name in meanings(paragraph)}
        if lines := [self._field(*field) for name, field in fields.items() if name not in told]:
            text += "\n" + "\n".join(lines) + "\n"
        for name, method, about in _methods(entry.where):
            text += f"\n#### {entry.where.name}.{name}\n\n```py\n{_method(source, name, method)}\n```\n\n{markdown(about, self.links)}\n"
        return text

    def _field(self, shown: str, doc: str) -> str:
        return f"- `{shown}`" + (": " + markdown(doc, self.links).replace("\n", "\n  ") if doc else "")


def _link(entry: Entry) -> str:
    return f"[{entry.title.partition(' (')[0]}](#{anchor(entry.title)})"


def _fields(where: Definition) -> Iterator[tuple[str, tuple[str, str]]]:
    """How each is declared, and its docstring; of what `__init__` sets only what has one."""
    for name, field, doc in named(where.node.body if isinstance(where.node, ast.ClassDef) else []):
        if isinstance(field, ast.AnnAssign) and not name.startswith("_"):
            yield name, (where.module.written(field), doc)
        if isinstance(field, ast.FunctionDef) and name == "__init__":
            yield from ((each, (each, said)) for each, _, said in named(field.body) if said and not each.startswith("_"))


def _methods(where: Definition) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    for name, node, doc in named(where.node.body if isinstance(where.node, ast.ClassDef) else []):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and doc and not name.startswith("_") and name not in INTERNAL.get(where.name, "").split():
            yield name, node, doc


def _signature(where: Definition) -> str:
    source, name, node, doc = where
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _method(source, name, node)
    if not isinstance(node, ast.ClassDef):
        return source.written(node)
    made = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    if made is None or doc.startswith("Made by") or (ast.get_docstring(made) or "").startswith("Use "):
        bases = [source.written(base) for base in node.bases]
        shown = ", ".join(base for base in bases if base in ("NamedTuple", "Protocol", "Enum", "TypedDict") or base in source.exported)
        return f"class {name}({shown})" if shown else f"class {name}"
    return call(f"class {name}", parameters(source, made.args))


def _method(source: Module, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = {source.written(each).rpartition(".")[2] for each in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        return f"{name}: {source.written(node.returns)}"
    head = "".join(f"@{each}\n" for each in ("classmethod", "staticmethod") if each in decorators)
    return head + call(f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {name}", parameters(source, node.args), source.written(node.returns))


def _manners(node: ast.stmt) -> Iterator[str]:
    """What it can be used with, besides its methods."""
    if isinstance(node, ast.ClassDef):
        found = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        if "__aenter__" in found or any(isinstance(base, ast.Name) and base.id == "Closable" for base in node.bases):
            yield f"An asynchronous context manager{' and iterator' if '__aiter__' in found else ''}."


def page() -> str:
    return Page().text()


def missing() -> set[str]:
    """What a package exports and the page lacks."""
    from .errors import errors

    shown = {entry.where.node for _, entries in Page().groups for entry in entries}
    packages = {group.module for group in GROUPS if "." not in group.module}
    exported = {definition(name, each) for name in packages for each in module(name).exported}
    return {where.name for where in exported if where.node not in shown and where.name not in errors()}
