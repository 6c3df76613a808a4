"""Explore a machine with a selection and a policy of your own: every interleaving, before it meets a message."""

from danube_statemachines import FailurePolicy, declare_reliable
from danube_statemachines.exploration import InvariantBroken, explore, replay

Roster = tuple[int, ...]  # the sessions of the consumers; its first is next


class Polite:
    """Whoever was served lets the next one pass. With two consumers that is fair. With three it is not."""

    name = "polite"
    announces = False

    def tries(self, roster: Roster) -> int:
        return len(roster)

    def served(self, roster: Roster, session: int) -> Roster:
        others = [other for other in roster if other != session]
        return (*others[:1], session, *others[1:])


class Queue(Polite):
    """Whoever was served goes to the end."""

    name = "queue"

    def served(self, roster: Roster, session: int) -> Roster:
        return (*(other for other in roster if other != session), session)


class Warm(Polite):
    """Whoever was served is served again, while its caches are warm. The others wait until it leaves."""

    name = "warm"

    def served(self, roster: Roster, session: int) -> Roster:
        return roster


class Linear(FailurePolicy):
    """Each wait is a second longer than the one before."""

    def delay(self, offset: int, failures: int, asked: float = 0.0) -> float:
        return max(float(failures), asked)


policy = Linear(max_redeliveries=2)
polite, queue, warm = (declare_reliable(selection) for selection in (Polite(), Queue(), Warm()))

print("polite, two consumers:", explore(polite, sessions=2, policy=policy).finished)
try:
    explore(polite, sessions=3, policy=policy)
except InvariantBroken as broken:
    print(broken)
    story = [line.what for line in broken.story]

    # The same story is a test. The queue passes it, and everything else that can happen.
    print("a queue goes on to", replay(queue, story, policy=policy)[-1].effects[-1])
    print("queue, three consumers:", explore(queue, sessions=3, policy=policy).finished)

# A warm selection is not fair, and need not be. Everything else must hold.
try:
    explore(warm)
except InvariantBroken as broken:
    print("warm:", broken.invariant)
print("warm, unfair as it is:", explore(warm, without={"S6"}).finished)

# prints:
# polite, two consumers: True
# reliable_polite: S6 fair rotation: 0 is served again, and 2 was not
#    1  consumer 0 joins    Dispatching   poll()
#    2  consumer 1 joins    Dispatching
#    3  consumer 2 joins    Dispatching
#    4  message 6           AwaitingAck   send((1, 0, 6, 1))
#    5  consumer 1 is lost  AwaitingAck
#    6  time is up          AwaitingAck   withdraw((1, 0, 6, 1)), send((1, 0, 6, 2))
# again: replay(machine, ['consumer 0 joins', 'consumer 1 joins', 'consumer 2 joins', 'message 6', 'consumer 1 is lost', 'time is up'], policy=Linear(max_redeliveries=2))
# a queue goes on to ('send', (1, 2, 6, 2))
# queue, three consumers: True
# warm: S6 fair rotation
# warm, unfair as it is: True
