"""The edges of the checks of numbers, where mutants survived."""

from __future__ import annotations

import pytest

from danube_statemachines import InvalidArgument
from danube_statemachines.checks import LARGEST, SHOWN, choice, count, number, shown


def test_the_largest_number_is_one() -> None:
    assert number("wait", LARGEST) == float(LARGEST)
    assert count("size", LARGEST) == LARGEST
    with pytest.raises(InvalidArgument, match="finite"):
        number("wait", float(LARGEST) * 2)
    with pytest.raises(InvalidArgument, match="from 1 to"):
        count("size", LARGEST + 1)


def test_what_fits_is_shown_whole_and_the_rest_is_cut_to_what_fits() -> None:
    fits, longer = "x" * (SHOWN - 2), "x" * (SHOWN - 1)  # and its quotes
    assert shown(fits) == repr(fits)
    assert len(shown(longer)) == SHOWN
    assert shown(longer) == f"{repr(longer)[: SHOWN - 1]}…"


def test_a_choice_is_a_string_and_not_only_equal_to_one() -> None:
    class Anything:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    with pytest.raises(InvalidArgument, match="'block'"):
        choice("poison_policy", Anything(), ("block", "drop"))
