"""What the documentation promises, sentence by sentence, as far as a machine or an engine's core can break it; and who notices.

Each sentence is broken by a bug that is planted in the code that ships, and the exploration must say which check it breaks: a check that nothing can
break holds nothing.
"""

from __future__ import annotations

import pytest

from contract import machines, subscriptions
from contract.sentences import Sentence
from danube_statemachines.exploration import InvariantBroken, explore, subscribed

CONTRACT = [each for module in (machines, subscriptions) for each in vars(module).values() if isinstance(each, Sentence)]


@pytest.mark.parametrize("sentence", CONTRACT, ids=lambda sentence: sentence.plant.__name__)
def test_a_broken_sentence_is_noticed(sentence: Sentence, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        sentence.plant(planted)
        with pytest.raises(InvariantBroken) as caught:
            if sentence.sizes is None:
                explore(sentence.machine, policy=sentence.policy)
            else:
                explore(subscribed(sentence.machine, policy=sentence.policy, **sentence.sizes))  # type: ignore[arg-type]
    assert caught.value.invariant.split()[0] == sentence.check
    assert caught.value.problem.startswith(sentence.problem)
