"""What the documentation promises, sentence by sentence, as far as a machine or an engine's core can break it; and who notices.

Each sentence is broken by a bug that is planted in the code that ships, and the exploration must say which check it breaks: a check that nothing can
break holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from contract import at_most_once, machines, subscriptions
from contract.elsewhere import ELSEWHERE, NO_BUG
from contract.sentences import Sentence
from danube_statemachines import NonReliable, Reliable
from danube_statemachines.exploration import InvariantBroken, explore, non_reliable_invariants, reliable_invariants, replay, subscription_invariants
from danube_statemachines.exploration.search import title
from rewriting import rewrite

TESTS = Path(__file__).parents[1]
CONTRACT = [each for module in (machines, at_most_once, subscriptions) for each in vars(module).values() if isinstance(each, Sentence)]


@pytest.mark.parametrize("sentence", CONTRACT, ids=lambda sentence: sentence.plant.__name__)
def test_a_broken_sentence_is_noticed(sentence: Sentence, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        rewrite(planted)
        sentence.plant(planted)
        with pytest.raises(InvariantBroken) as caught:
            explore(sentence.scene(), policy=sentence.policy)
        with pytest.raises(InvariantBroken) as again:
            replay(sentence.scene(), caught.value.story, policy=sentence.policy)
    assert caught.value.invariant.split()[0] == sentence.check
    assert caught.value.problem.startswith(sentence.problem)
    assert (again.value.invariant, again.value.problem) == (caught.value.invariant, caught.value.problem)


@pytest.mark.parametrize(
    ("checks", "sentences"),
    [
        (reliable_invariants.INVARIANTS, [each for each in CONTRACT if each.sizes is None and issubclass(each.machine.lean, Reliable)]),
        (non_reliable_invariants.INVARIANTS, [each for each in CONTRACT if issubclass(each.machine.lean, NonReliable)]),
        (subscription_invariants.INVARIANTS, [each for each in CONTRACT if each.sizes is not None]),
    ],
    ids=["reliable", "non-reliable", "subscription"],
)
def test_no_check_is_there_for_nothing(checks: Sequence[Callable[..., object]], sentences: Sequence[Sentence]) -> None:
    assert {title(check).split()[0] for check in checks} <= {sentence.check for sentence in sentences}


@pytest.mark.parametrize("says", ELSEWHERE)
def test_who_holds_what_an_exploration_cannot_is_there(says: str) -> None:
    module, function = ELSEWHERE[says]
    assert f"def {function}(" in (TESTS / module).read_text(encoding="utf-8")


def test_no_sentence_stands_twice() -> None:
    told = [*((sentence.says, sentence.sizes is None) for sentence in CONTRACT), *((says, True) for says in (*ELSEWHERE, *NO_BUG))]
    assert len(told) == len(set(told))
