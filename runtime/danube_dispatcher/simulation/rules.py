"""The rules that a history must keep, each by the name under which a violation is reported. Numbers are those of the invariants."""

from __future__ import annotations

from typing import Final

RULES: Final = {
    "published is durable": "what was acknowledged to a publisher is in its topic",
    "contents": "a delivery carries the message that was published at its offset",
    "at least once": "S2, S3: the cursor, in memory and on disk, passes an offset only after an accepted ack, a drop by policy or release, or a dead letter",
    "settled once": "S3: what was settled is not delivered again under the same ownership",
    "stale answer": "S3: only the first answer to the open delivery, in time and by an attached consumer, returns True",
    "single in flight": "S1: a delivery follows another only after an answer, a deadline, or the loss of its consumer",
    "attempts grow": "a later delivery of the same message under one ownership has a higher attempt",
    "blame": "S13: what is charged on disk was caused: by a nack, a deadline, a lost consumer, or a lost process that had marked it",
    "verdict": "S13: a message with more than max_redeliveries charged failures goes to no consumer, unless released",
    "dead letter": "S3: a dead letter is written for an exhausted message under that policy, or by a release",
    "active consumer": "S5: exclusive and failover: only the longest attached consumer, or its successor, is served",
    "fair rotation": "S6: shared: nobody is served again and again while another one waits",
    "rate limit": "S10: first deliveries keep to the limit",
    "pause": "nothing new is taken in while paused, also after a restart",
    "fencing": "S4: only the owner writes the position",
    "cursor grows": "S4: the durable cursor does not go back",
    "lapsed lease": "nothing new is given out under a lease that has run out",
    "stolen lease": "nobody takes a lease that was renewed in time, unless wall clocks differ",
    "takeover": "L4: a waiter takes over within one lease and one heartbeat of the last renewal (one more lease and heartbeat if wall clocks differ)",
    "durable ack": "with flush_interval=0 an ack that returned True is durable",
    "clean close": "after a clean close every accepted ack is durable",
    "debounce": "a crash repeats no more than 10,000 messages, and none acknowledged longer than the flush interval before",
    "crash loop": "a message that kills its process meets its verdict after max_redeliveries + 2 crashes",
    "at most once": "S9: a non-reliable subscription delivers no message twice, and none from before it was opened",
    "liveness": "L1: once faults stop, everything is settled within the bound that checker.py states",
    "no surprise": "nothing is raised or logged as an error that is not meant to be",
}


class Broken(Exception):
    """A rule was broken; `subject` says by what, `offset` in which message (-1: none)."""

    def __init__(self, rule: str, problem: str, subject: str, offset: int = -1) -> None:
        super().__init__(f"{rule}: {subject}{'' if offset < 0 else f' message {offset}'}: {problem} ({RULES[rule]})")
        self.rule = rule
        self.problem = problem
        self.subject = subject
        self.offset = offset
