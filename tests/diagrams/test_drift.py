"""The committed diagrams say what the declarations say. (Pictures depend on fonts: only the text is compared.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from danube_dispatcher import diagrams
from danube_statemachines import VARIANTS

FOLDER = Path(__file__).parents[2] / "diagrams"
AGAIN = "run `make diagrams` and look at what changed"


@pytest.mark.parametrize(("kind", "suffix"), [("dot", "dot"), ("mermaid", "mmd")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_committed_text_is_that_of_the_declaration(variant: str, kind: str, suffix: str) -> None:
    path = FOLDER / f"{variant}.{suffix}"
    assert path.is_file(), f"{path.name} is missing: {AGAIN}"
    assert path.read_bytes() == diagrams.render(VARIANTS[variant], kind), f"{path.name} is not what {variant} declares: {AGAIN}"


def test_there_is_a_picture_of_each_machine_and_of_nothing_else() -> None:
    wanted = {f"{variant}.{suffix}" for variant in VARIANTS for suffix in ("dot", "mmd", "svg")}
    assert {path.name for path in FOLDER.iterdir() if path.suffix in {".dot", ".mmd", ".svg", ".png"}} == wanted, AGAIN
