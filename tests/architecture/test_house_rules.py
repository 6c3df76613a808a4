"""Rules of the house that a reader relies on. What may import what in the runtime stands in pyproject.toml (import-linter)."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "statemachines" / "danube_statemachines"
RUNTIME = ROOT / "runtime" / "danube_dispatcher"
MODULES = sorted([*MODEL.rglob("*.py"), *RUNTIME.rglob("*.py")])

LONGEST = 500

IMPURE = {"asyncio", "datetime", "logging", "random", "secrets", "socket", "sqlite3", "subprocess", "threading", "time", "os", "pathlib", "io"}
"""What the model must not know: a clock, chance, and anything outside."""

STORAGE_KNOWS = {"DanubeError", "Held", "InvalidArgument", "Progress", "advanced"}
"""All that a back end may know of the model: what it keeps, and the roots of its errors."""

# A name that is added, renamed or taken away is a change of the API: change it here, and say it in the change log.
PUBLIC = {
    "danube_statemachines": """
        AWAITING_ACK BLOCKED CLOSED Coupling DEAD_LETTERING DISPATCHING DanubeError Declaration DefinitionError DeliveryId
        EngineCore Extend FAILOVER FLUSH_INTERVAL FLUSH_MESSAGES FailurePolicy Held IDLE IllegalEvent InvalidArgument LATER Later
        LeanEvent Lost NON_RELIABLE_EXCLUSIVE NON_RELIABLE_SHARED Nack NonReliable NonReliablePort PoisonPolicy Progress
        REDELIVERING RELIABLE_EXCLUSIVE RELIABLE_SHARED Recorder Refusal Reliable ReliablePort Replaced Resumed Roster
        RosterMachine RosterPort RoundRobin Row RowSpec Selection Settlement SingleActive Stale VARIANTS advanced backoff
        declare_non_reliable declare_reliable row
    """,
    "danube_dispatcher": """
        Closed Consumer ConsumerAttached ConsumerError ConsumerNotFound ConsumerRefused ConsumerReplaced ConsumerStatus
        Counts CursorUnreadable DanubeError Deadlock DefinitionError Delivery Dispatcher Explanation FailurePolicy Fenced
        IllegalEvent InvalidArgument Lag Leftover Message NotAStore NotBlocked NotSupported Observer Outcome
        OwnershipLost PublishFailed Status StoreBusy StoreDamaged StoreError StoreFull StoreNotFound StoreReadOnly
        StoreTooNew StoreUnavailable Subscription SubscriptionEngine SubscriptionError SubscriptionInUse
        SubscriptionInfo SubscriptionMismatch SubscriptionNotFound SubscriptionOwned Topic UsageError WrongContext
    """,
}

HOME = re.compile(r"/(?:root|work|tmp)/[\w.-]|/(?:home|Users)/\w|[A-Z]:\\\\?Users")
"""The start of a path that only one machine has."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The absolute imports of a module: from where, and which names ([] for the module itself)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or "", [alias.name for alias in node.names]


def test_there_is_something_to_judge() -> None:
    assert len(MODULES) > 20
    assert HOME.search("cd /home/somebody/checkout")


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", sorted(MODEL.rglob("*.py")), ids=named)
def test_the_model_imports_pure_parts_of_the_standard_library_and_transitions(path: Path) -> None:
    for module, _ in imports(path):
        top = module.partition(".")[0]
        assert top in {"transitions", "danube_statemachines"} or top in sys.stdlib_module_names, f"imports {module}"
        assert top not in IMPURE, f"imports {module}"
        assert not module.startswith("transitions.extensions"), f"imports {module}: drawing and asynchronous machines have no place in the model"


def test_the_runtime_needs_nothing_but_the_model() -> None:
    for path in RUNTIME.rglob("*.py"):
        found = {module.partition(".")[0] for module, _ in imports(path)} - sys.stdlib_module_names
        extra = {"textual"} if path.is_relative_to(RUNTIME / "watch") else set[str]()  # its command imports it when it is its turn
        assert found <= {"danube_statemachines", "danube_dispatcher"} | extra, named(path)


def test_storage_knows_no_machine() -> None:
    for path in sorted((RUNTIME / "storage").rglob("*.py")):
        for module, names in imports(path):
            if module.partition(".")[0] == "danube_statemachines":
                assert module == "danube_statemachines", f"{named(path)} imports {module}"
                assert names, f"{named(path)} imports all of {module}"
                assert set(names) <= STORAGE_KNOWS, f"{named(path)} imports {names}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_asynchronous_machine(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    imported = {name for _, several in imports(path) for name in several}
    assert not {name for name in names | imported if "AsyncMachine" in name}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_as_listed(package: str) -> None:
    module = importlib.import_module(package)
    exported = list(module.__all__)
    assert len(exported) == len(set(exported)), "a name stands twice in __all__"
    assert set(exported) == set(PUBLIC[package].split())
    for name in exported:
        assert getattr(module, name) is not None


def test_no_tracked_file_holds_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout: an unpacked sdist has no list of files")
    found: list[str] = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{number}: {line.strip()[:80]}" for number, line in enumerate(text.splitlines(), 1) if HOME.search(line)]
    assert not found
