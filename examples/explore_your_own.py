"""A selection and a policy of your own: explored through every interleaving, played and drawn, before it meets a message.

    python explore_your_own.py [PICTURE]

A selection says which consumer is next. Polite turns out to be unfair; the story of how is told, drawn beside PICTURE (polite.svg by default) as
Mermaid text, and played again to two others. A picture needs the extra: pip install 'danube-dispatcher[diagrams]'
"""

import argparse
import sys
from pathlib import Path

from danube_dispatcher import UsageError, diagrams
from danube_dispatcher.sequence import sequence
from danube_statemachines import Declaration, FailurePolicy, Recorder, Reliable, Roster, declare_reliable
from danube_statemachines.exploration import InvariantBroken, explore, replay


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


def played(declaration: Declaration[Reliable], policy: FailurePolicy) -> str:
    """Who gets six messages, if three consumers acknowledge at once."""
    machine = declaration.lean(Recorder(), policy)
    for session in range(3):
        machine.consumer_added(session)
    order: list[int] = []
    for offset in range(6):
        machine.polled(offset)
        assert machine.delivery is not None
        order.append(machine.delivery[1])
        machine.ack(machine.delivery)
    return " ".join(map(str, order))


def main(picture: Path) -> None:
    policy = Linear(max_redeliveries=2)
    polite, queue, warm = (declare_reliable(selection) for selection in (Polite(), Queue(), Warm()))
    for machine in (polite, queue, warm):
        print(f"{machine.title} serves", played(machine, policy))

    print("polite, two consumers:", explore(polite, sessions=2, policy=policy).finished)
    try:
        explore(polite, sessions=3, policy=policy)
    except InvariantBroken as broken:
        print(broken)
        story = [line.what for line in broken.story]
        picture.with_suffix(".mmd").write_text(sequence(broken.problem, broken.story))

        # The same story is a test. The queue passes it, and everything else that can happen.
        print("a queue goes on to", replay(queue, story, policy=policy)[-1].effects[-1])
        print("queue, three consumers:", explore(queue, sessions=3, policy=policy).finished)

    # A warm selection is not fair, and need not be. Everything else must hold.
    try:
        explore(warm)
    except InvariantBroken as broken:
        print("warm:", broken.invariant)
    print("warm, unfair as it is:", explore(warm, without={"S6"}).finished)

    # The table is the reliable machine's, so its picture is, too: a selection changes who is served, and not what can happen.
    picture.write_bytes(diagrams.render(polite, "svg"))
    print(f"drawn: {picture}, {picture.with_suffix('.mmd')}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("picture", nargs="?", type=Path, default=Path("polite.svg"), help="a file to draw to (%(default)s)")
    try:
        main(arguments.parse_args().picture)
    except (UsageError, OSError) as error:  # the extra is missing, or it cannot be drawn there
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)

# prints:
# reliable_polite serves 0 1 0 1 0 1
# reliable_queue serves 0 1 2 0 1 2
# reliable_warm serves 0 0 0 0 0 0
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
# drawn: polite.svg, polite.mmd
