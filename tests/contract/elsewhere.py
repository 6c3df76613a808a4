"""What an exploration cannot be held to, and why: sentences that others hold, and bugs that are none.

Times in an exploration are early or due, and what a process is told at once is one step. So when exactly something happens, what a call returns when,
and what a store does with a row is held by tests that have a clock, callers and a store.
"""

from __future__ import annotations

ELSEWHERE: dict[str, tuple[str, str]] = {
    "An answer at the deadline is late, though no timer has fired: the driver lets time pass first.": (
        "runtime/test_gating.py",
        "test_an_answer_at_the_deadline_is_late_though_no_timer_has_fired",
    ),
    "Deadlines and delays fire at their own time, not at a heartbeat.": ("runtime/test_engine.py", "test_deadlines_and_delays_fire_at_their_own_time"),
    "The core's alarm names each time that matters, and rings to an end.": ("statemachines/test_engine_stateful.py", "time_passes"),
    "`rate_limit` messages a second, in any second; a bucket refills up to its burst.": ("statemachines/test_engine_stateful.py", "given"),
    "A delay is min(max(policy, asked), maximum): the exploration asks the policy itself.": (
        "statemachines/test_policy.py",
        "test_an_asked_delay_only_lengthens_and_is_capped",
    ),
    "Of a delay over a restart what is left: between two clocks.": ("runtime/test_restart.py", "test_of_a_running_delay_what_is_left_survives"),
    "A ticket names the write with which everything up to now is durable: `ack`, `nack`, `pause` and `drain` wait for it.": (
        "statemachines/test_engine_stateful.py",
        "wait",
    ),
    "With `flush_interval=0` an ack returns when it is durable.": (
        "runtime/test_flushing.py",
        "test_with_flush_interval_zero_an_ack_is_durable_when_it_returns",
    ),
    "A nack returns when its failure is durable.": ("runtime/test_failure_policy.py", "test_a_nack_returns_when_its_failure_is_durable"),
    "`drain` waits until nothing is unsettled, writes the position and stays paused.": (
        "runtime/test_operations.py",
        "test_draining_waits_for_what_is_in_flight_and_writes_the_position",
    ),
    "A fenced write changes nothing, and epochs are never repeated.": ("storage/test_conformance_leases.py", "test_who_was_replaced_is_fenced"),
    "At half of the bound on duplicates it writes without waiting for `flush_interval`.": (
        "statemachines/test_engine_writing.py",
        "test_at_half_the_bound_it_writes_without_waiting",
    ),
    "Offsets may have gaps.": ("statemachines/test_engine_writing.py", "test_a_history_that_a_gap_swallowed_is_forgotten"),
    "What a leaver had not taken counts as dropped.": ("runtime/test_non_reliable.py", "test_what_a_leaver_had_not_taken_counts_as_dropped"),
}
"""Who holds it: a module, and a function in it."""

NO_BUG = {
    "A message that was in hand before is not throttled.": "It is the first that a process gives out, and no bucket holds less than one message at first.",
    "While it is careful each ack makes the cursor durable.": "The cursor is written with the mark of the next message: there is not one without the other, "
    "and a mark that is not waited for is noticed.",
}
"""No bug that breaks it alone can be planted, because."""
