"""The committed diagrams say what the declarations say. (Pictures depend on fonts: only the text is compared.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from danube_dispatcher import diagrams
from danube_dispatcher.errors import InvalidArgument
from danube_statemachines import VARIANTS
from diagrams import draw

FOLDER = Path(__file__).parents[2] / "diagrams"
AGAIN = "run `make diagrams` and look at what changed"


def test_the_committed_counts_are_of_the_declared_tables() -> None:
    """They are those of one run. Another would have others; only where a table has changed they mean nothing any more."""
    for declaration in VARIANTS.values():
        try:
            fired = diagrams.read_fired(declaration, draw.ROWS.read_bytes())
        except InvalidArgument as error:
            pytest.fail(f"{draw.ROWS.name}: {error}: run `make heat` and look at what changed")
        assert fired.total() > 1000, f"{declaration.title} has hardly run"


@pytest.mark.parametrize("picture", [*draw.pictures()], ids=lambda picture: picture.name)
def test_the_committed_text_is_that_of_the_declaration(picture: draw.Picture) -> None:
    for kind in set(picture.kinds) - {"svg"}:
        path = FOLDER / f"{picture.name}.{draw.SUFFIXES[kind]}"
        assert path.is_file(), f"{path.name} is missing: {AGAIN}"
        assert path.read_bytes() == picture.draw(kind), f"{path.name} is not what is declared: {AGAIN}"


def test_there_is_a_picture_of_each_and_of_nothing_else() -> None:
    wanted = {f"{picture.name}.{draw.SUFFIXES[kind]}" for picture in draw.pictures() for kind in picture.kinds}
    assert {path.name for path in FOLDER.iterdir() if path.suffix in {".dot", ".mmd", ".svg", ".png"}} == wanted, AGAIN
