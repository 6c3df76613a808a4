------------------------------ MODULE Reliable ------------------------------
(***************************************************************************)
(* The reliable protocol, written by hand from what the documentation      *)
(* promises, not from the code: one subscription, one log, several         *)
(* processes that may own it, one delivery in flight.  README.md says what *)
(* is modelled and what is not.                                            *)
(*                                                                         *)
(* Time is left out: whatever a clock could cause may happen at any        *)
(* moment.  An owner does not notice that its lease has run out until it   *)
(* looks or is refused, so a late owner here does worse than a real one.   *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
  Owners,           \* processes that compete for the subscription
  Names,            \* names under which consumers attach
  N,                \* messages in the log, at offsets 0 .. N-1
  MaxRedeliveries,  \* exhausted when failures > MaxRedeliveries
  Policy,           \* "block" | "drop" | "dead_letter"
  MaxUnsaved,       \* settled messages that may wait for a cursor write; as many are handled with care after an unclean end
  MaxEpoch,         \* takeovers end here: no owner stalls, dies or closes in the last epoch
  MaxAttempt,       \* nothing that costs an attempt happens from here on
  Killer,           \* offset of a message that kills the process that takes it, or -1
  MayClose,         \* whether owners may also end cleanly
  MayCalm,          \* whether faults may stop for good (for liveness)
  Bug               \* "none", or the name of a deliberate mistake

VARIABLES
  lease,    \* durable: [epoch, held, clean]
  row,      \* durable: [fence, cur, att, fail, mark, care]; att, fail and mark are about message cur+1
  dlq,      \* durable: offsets in the dead-letter topic
  own,      \* what each process has in memory
  acked,    \* ghost: messages settled by an ack that their consumer gave for the delivery open then
  dropped,  \* ghost: messages settled by a drop
  kills,    \* ghost: processes that Killer has killed since it was last released
  calm      \* faults have stopped

vars == <<lease, row, dlq, own, acked, dropped, kills, calm>>

Offsets == 0 .. N-1
Max(a, b) == IF a > b THEN a ELSE b
Down == [st |-> "down", epoch |-> 0, cur |-> -1, att |-> 0, fail |-> 0, care |-> 0, team |-> {}, open |-> {}]
Up == {"idle", "polling", "ready", "open", "delay", "dead", "dead_written", "blocked"}
InHand == {"ready", "open", "delay", "dead", "dead_written", "blocked"}

Init ==
  /\ lease = [epoch |-> 0, held |-> FALSE, clean |-> TRUE]
  /\ row = [fence |-> 0, cur |-> -1, att |-> 0, fail |-> 0, mark |-> FALSE, care |-> 0]
  /\ dlq = {} /\ acked = {} /\ dropped = {} /\ kills = 0 /\ calm = FALSE
  /\ own = [o \in Owners |-> Down]

----------------------------------------------------------------------------
(* What becomes of the message in hand, of one process p. *)

Give(p, n) ==
  [p EXCEPT !.st = "open", !.att = @ + 1,
            !.open = @ \cup {[name |-> n, off |-> p.cur + 1, att |-> p.att + 1, stage |-> "boxed"]}]

Settle(p) ==
  [p EXCEPT !.st = "idle", !.cur = @ + 1, !.att = 0, !.fail = 0, !.care = Max(0, @ - 1), !.open = {}]

Exhausted(p) == p.fail > (IF Bug = "one_try_too_many" THEN MaxRedeliveries + 1 ELSE MaxRedeliveries)

Verdict(p) ==
  CASE Policy = "block"       -> [p EXCEPT !.st = "blocked"]
    [] Policy = "dead_letter" -> [p EXCEPT !.st = "dead"]
    [] Policy = "drop"        -> Settle(p)

\* A message in hand without a delivery: its verdict, or the next consumer (any: both selections are among the choices).
Decide(p) ==
  IF Exhausted(p) THEN {Verdict(p)}
  ELSE IF p.team = {} THEN {[p EXCEPT !.st = "ready"]}
  ELSE {Give(p, n) : n \in p.team}

Wait(p) == IF Exhausted(p) THEN Verdict(p) ELSE [p EXCEPT !.st = "delay"]

\* The delivery d is over and was not acknowledged.
Lost(p, d) ==
  [p EXCEPT !.open = IF Bug = "no_withdrawal" THEN @ ELSE @ \ {d},
            !.fail = IF d.stage # "boxed" \/ Bug = "charge_the_innocent" THEN @ + 1 ELSE @]

Step(o, q) == own' = [own EXCEPT ![o] = q]
\* A step of o that may settle by policy or release.
Fate(o, q) ==
  /\ Step(o, q)
  /\ dropped' = IF own[o].st \in InHand \cup {"polling"} /\ q.cur > own[o].cur THEN dropped \cup {q.cur} ELSE dropped

----------------------------------------------------------------------------
(* Ownership: lease, fence, read; each is a transaction of its own. *)

Mine(o) == lease.epoch = own[o].epoch
Accepted(o) ==
  IF Bug = "reject_lower_only" THEN own[o].epoch >= row.fence ELSE row.fence = own[o].epoch

TakeLease(o) ==
  /\ own[o].st = "down" /\ ~lease.held
  /\ lease' = [epoch |-> lease.epoch + 1, held |-> TRUE, clean |-> FALSE]
  /\ Step(o, [Down EXCEPT !.st = "leased", !.epoch = lease.epoch + 1, !.care = IF lease.clean THEN 0 ELSE MaxUnsaved])
  /\ UNCHANGED <<row, dlq, acked, dropped, kills, calm>>

Fence(o) ==
  /\ own[o].st = (IF Bug = "fence_after_read" THEN "read" ELSE "leased")
  /\ IF Mine(o)
     THEN /\ row' = [row EXCEPT !.fence = IF Bug = "reject_lower_only" THEN @ ELSE own[o].epoch]
          /\ Step(o, [own[o] EXCEPT !.st = IF Bug = "fence_after_read" THEN "idle" ELSE "fenced"])
     ELSE Step(o, Down) /\ UNCHANGED row
  /\ UNCHANGED <<lease, dlq, acked, dropped, kills, calm>>

\* A message found marked after an unclean end is charged, unless it was exhausted: then nobody had it. An exhausted one goes to its verdict with
\* nobody attached. After a clean end the care goes on where it was.
Opened(o) ==
  LET unclean == own[o].care > 0
      charged == unclean /\ row.mark /\ (row.fail <= MaxRedeliveries \/ Bug = "exhausted_is_charged")
      p == [own[o] EXCEPT !.cur = row.cur, !.att = row.att, !.fail = row.fail + (IF charged THEN 1 ELSE 0), !.care = IF unclean THEN @ ELSE row.care]
  IN IF Bug = "fence_after_read" THEN [p EXCEPT !.st = "read"]
     ELSE IF Exhausted(p) THEN Verdict(p) ELSE [p EXCEPT !.st = "idle"]

Read(o) ==
  /\ own[o].st = (IF Bug = "fence_after_read" THEN "leased" ELSE "fenced")
  /\ IF Bug = "fence_after_read" \/ Accepted(o)
     THEN /\ Step(o, Opened(o))
          /\ dropped' = IF Opened(o).cur > row.cur THEN dropped \cup {Opened(o).cur} ELSE dropped
     ELSE Step(o, Down) /\ UNCHANGED dropped
  /\ UNCHANGED <<lease, row, dlq, acked, kills, calm>>

\* Any write may come at any time; a refused one tells the owner that it is none.
Put(o, r) ==
  IF Accepted(o) THEN row' = [r EXCEPT !.fence = own[o].epoch] ELSE UNCHANGED row

Saved(o, att) ==
  LET p == own[o] same == row.cur = p.cur
  IN [fence |-> row.fence, cur |-> p.cur, att |-> IF same THEN Max(row.att, att) ELSE att,
      fail |-> p.fail, mark |-> same /\ row.mark, care |-> 0]

Write(o) ==
  /\ own[o].st \in Up
  /\ row.cur # own[o].cur \/ row.fail # own[o].fail
  /\ Put(o, Saved(o, own[o].att))
  /\ IF Accepted(o) THEN UNCHANGED own ELSE Step(o, Down)
  /\ UNCHANGED <<lease, dlq, acked, dropped, kills, calm>>

Close(o) ==  \* what it had in hand is nobody's, so no mark stays; the rest of the care is the next owner's
  /\ MayClose /\ ~calm /\ own[o].st \in Up /\ (Mine(o) => lease.epoch < MaxEpoch)
  /\ Put(o, [Saved(o, own[o].att) EXCEPT !.mark = FALSE, !.care = IF Bug = "care_ends_with_its_owner" THEN 0 ELSE own[o].care])
  /\ lease' = IF Mine(o) /\ Accepted(o) THEN [lease EXCEPT !.held = FALSE, !.clean = TRUE] ELSE lease
  /\ Step(o, Down)
  /\ UNCHANGED <<dlq, acked, dropped, kills, calm>>

Crash(o) ==
  /\ ~calm /\ own[o].st # "down" /\ (Mine(o) => lease.epoch < MaxEpoch)
  /\ kills' = IF \E d \in own[o].open : d.off = Killer /\ d.stage # "boxed" THEN kills + 1 ELSE kills
  /\ Step(o, Down)
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, calm>>

Holder == {o \in Owners : own[o].st # "down" /\ Mine(o)}

Expire ==  \* nobody renews
  /\ lease.held /\ Holder = {} /\ lease' = [lease EXCEPT !.held = FALSE]
  /\ UNCHANGED <<row, dlq, own, acked, dropped, kills, calm>>

Stall ==  \* the owner lives and does not renew in time
  /\ ~calm /\ lease.held /\ Holder # {} /\ lease.epoch < MaxEpoch /\ lease' = [lease EXCEPT !.held = FALSE]
  /\ UNCHANGED <<row, dlq, own, acked, dropped, kills, calm>>

Renew(o) ==
  /\ o \in Holder /\ ~lease.held /\ lease' = [lease EXCEPT !.held = TRUE]
  /\ UNCHANGED <<row, dlq, own, acked, dropped, kills, calm>>

Notice(o) ==  \* the epoch has moved: OwnershipLost
  /\ own[o].st # "down" /\ ~Mine(o) /\ Step(o, Down)
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

----------------------------------------------------------------------------
(* Intake.  With care, a mark is durable before the first send, in one write with the cursor behind the predecessor. *)

Marked(o) ==
  /\ row.fence = own[o].epoch /\ row.cur = own[o].cur /\ row.mark
  /\ row.fail = own[o].fail /\ row.att = own[o].att + 1

Poll(o) ==
  /\ own[o].st = "idle" /\ own[o].team # {} /\ own[o].cur + 1 < N /\ own[o].cur - row.cur < MaxUnsaved
  /\ Step(o, [own[o] EXCEPT !.st = "polling"])
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

Mark(o) ==
  /\ own[o].st = "polling" /\ own[o].care > 0 /\ ~Marked(o)
  /\ Put(o, [Saved(o, 0) EXCEPT !.att = own[o].att + 1, !.mark = TRUE,
                                !.fail = IF Bug = "crash_charge_not_saved" /\ row.cur = own[o].cur THEN row.fail ELSE own[o].fail])
  /\ IF Accepted(o) THEN UNCHANGED own ELSE Step(o, Down)
  /\ UNCHANGED <<lease, dlq, acked, dropped, kills, calm>>

Answered(o) ==
  /\ own[o].st = "polling"
  /\ \/ own[o].care = 0 \/ Marked(o)
     \/ Bug = "crash_charge_not_saved" /\ row.mark /\ row.cur = own[o].cur /\ row.att = own[o].att + 1
  /\ \E q \in Decide(own[o]) : Step(o, q)
  /\ row' = IF Bug = "cursor_at_send" /\ Accepted(o) THEN [row EXCEPT !.cur = own[o].cur + 1, !.att = 0, !.fail = 0, !.mark = FALSE] ELSE row
  /\ UNCHANGED <<lease, dlq, acked, dropped, kills, calm>>

NothingNow(o) ==
  /\ ~calm /\ own[o].st = "polling" /\ Step(o, [own[o] EXCEPT !.st = "idle"])
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

----------------------------------------------------------------------------
(* Consumers.  An answer stays under way as long as it likes, arrives any number of times, or never. *)

Restage(o, d, s) ==
  /\ own' = [own EXCEPT ![o].open = (@ \ {d}) \cup {[d EXCEPT !.stage = s]}]
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

Take(o, d) == d.stage = "boxed" /\ Restage(o, d, "taken")
SayAck(o, d) == d.stage = "taken" /\ d.off # Killer /\ Restage(o, d, "acked")
SayNack(o, d) == ~calm /\ d.stage = "taken" /\ d.off # Killer /\ own[o].att < MaxAttempt /\ Restage(o, d, "nacked")

Token(o, d) == [epoch |-> own[o].epoch, name |-> d.name, off |-> d.off, att |-> d.att]
\* Late, foreign and forged: each differs from the open delivery in one part.
Wrong(o, d) ==
  LET t == Token(o, d)
  IN {[t EXCEPT !.epoch = @ - 1]} \cup {[t EXCEPT !.name = n] : n \in Names \ {d.name}}
     \cup {[t EXCEPT !.off = @ - 1], [t EXCEPT !.off = @ + 1], [t EXCEPT !.att = @ - 1], [t EXCEPT !.att = @ + 1]}
Names_(o, d, t) == IF Bug = "ack_by_offset" THEN t.off = d.off ELSE t = Token(o, d)

AckArrives(o, d) ==
  /\ \/ d.stage = "acked"
     \/ ~calm /\ \E t \in Wrong(o, d) : Names_(o, d, t)
  /\ Step(o, Settle(own[o]))
  /\ acked' = IF d.stage = "acked" THEN acked \cup {d.off} ELSE acked
  /\ UNCHANGED <<lease, row, dlq, dropped, kills, calm>>

NackArrives(o, d) ==
  /\ d.stage = "nacked"
  /\ Fate(o, Wait(Lost(own[o], d)))
  /\ UNCHANGED <<lease, row, dlq, acked, kills, calm>>

Timeout(o, d) ==  \* one that sat in a box is withdrawn and sent again, and costs nothing
  /\ ~calm /\ own[o].att < MaxAttempt
  /\ IF d.stage = "boxed" THEN \E q \in Decide(Lost(own[o], d)) : Fate(o, q)
     ELSE Fate(o, Wait(Lost(own[o], d)))
  /\ UNCHANGED <<lease, row, dlq, acked, kills, calm>>

Durable(o) == row.fence = own[o].epoch /\ row.cur = own[o].cur /\ row.fail = own[o].fail

DelayOver(o) ==
  /\ own[o].st = "delay" /\ Durable(o)
  /\ \E q \in Decide(own[o]) : Step(o, q)
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

Join(o, n) ==
  /\ own[o].st \in Up /\ n \notin own[o].team
  /\ LET p == [own[o] EXCEPT !.team = @ \cup {n}]
     IN \E q \in (IF p.st = "ready" /\ Bug # "join_wakes_nobody" THEN Decide(p) ELSE {p}) : Step(o, q)
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

Leave(o, n) ==
  /\ ~calm /\ own[o].st \in Up /\ n \in own[o].team
  /\ LET p == [own[o] EXCEPT !.team = @ \ {n}]
         held == {d \in p.open : d.name = n}
     IN IF held = {} THEN Step(o, p) /\ UNCHANGED dropped
        ELSE /\ p.att < MaxAttempt
             /\ \E d \in held :
                  IF Bug = "leaving_is_ack" THEN Step(o, Settle(p)) /\ UNCHANGED dropped
                  ELSE \E q \in Decide(Lost(p, d)) : Fate(o, q)
  /\ UNCHANGED <<lease, row, dlq, acked, kills, calm>>

\* A takeover of the name: what the old one held goes to the new one.
Replace(o, d) ==
  /\ ~calm /\ own[o].att < MaxAttempt
  /\ LET p == Lost(own[o], d) IN Fate(o, IF Exhausted(p) THEN Verdict(p) ELSE Give(p, d.name))
  /\ UNCHANGED <<lease, row, dlq, acked, kills, calm>>

----------------------------------------------------------------------------
(* Poison. *)

DeadLetter(o) ==
  /\ own[o].st = "dead"
  /\ IF Bug = "settled_before_dead_letter"
     THEN Step(o, Settle(own[o])) /\ UNCHANGED dlq
     ELSE Step(o, [own[o] EXCEPT !.st = "dead_written"]) /\ dlq' = dlq \cup {own[o].cur + 1}
  /\ UNCHANGED <<lease, row, acked, dropped, kills, calm>>

DeadLettered(o) ==
  /\ own[o].st = "dead_written" /\ Step(o, Settle(own[o]))
  /\ UNCHANGED <<lease, row, dlq, acked, dropped, kills, calm>>

Release(o, how) ==  \* with care, a retried message keeps its mark, which counts again, or is marked like any other before it is sent
  /\ ~calm /\ own[o].st = "blocked"
  /\ CASE how = "retry"       -> /\ own[o].att < MaxAttempt
                                /\ LET p == [own[o] EXCEPT !.fail = 0]
                                   IN \E q \in (IF p.care = 0 \/ (row.cur = p.cur /\ row.mark) THEN Decide(p) ELSE {[p EXCEPT !.st = "idle"]}) : Fate(o, q)
       [] how = "drop"        -> Fate(o, Settle(own[o]))
       [] how = "dead_letter" -> Fate(o, [own[o] EXCEPT !.st = "dead"])
  /\ kills' = IF how = "retry" THEN 0 ELSE kills
  /\ UNCHANGED <<lease, row, dlq, acked, calm>>

CalmDown ==
  /\ MayCalm /\ ~calm /\ calm' = TRUE
  /\ UNCHANGED <<lease, row, dlq, own, acked, dropped, kills>>

----------------------------------------------------------------------------

Open(o, A(_, _)) == own[o].st \in Up /\ \E d \in own[o].open : A(o, d)

Good(o) ==
  \/ TakeLease(o) \/ Fence(o) \/ Read(o) \/ Write(o) \/ Renew(o) \/ Notice(o)
  \/ Poll(o) \/ Mark(o) \/ Answered(o) \/ DelayOver(o) \/ DeadLetter(o) \/ DeadLettered(o)
  \/ Open(o, Take) \/ Open(o, SayAck) \/ Open(o, AckArrives) \/ Open(o, NackArrives)
  \/ \E n \in Names : Join(o, n)

Bad(o) ==
  \/ Close(o) \/ Crash(o) \/ NothingNow(o)
  \/ Open(o, SayNack) \/ Open(o, Timeout) \/ Open(o, Replace)
  \/ \E n \in Names : Leave(o, n)
  \/ \E how \in {"retry", "drop", "dead_letter"} : Release(o, how)

Next == Expire \/ Stall \/ CalmDown \/ \E o \in Owners : Good(o) \/ Bad(o)

Spec == Init /\ [][Next]_vars

Fair ==
  /\ WF_vars(Expire)
  /\ \A o \in Owners :
       /\ WF_vars(TakeLease(o)) /\ WF_vars(Fence(o)) /\ WF_vars(Read(o)) /\ WF_vars(Write(o)) /\ WF_vars(Renew(o)) /\ WF_vars(Notice(o))
       /\ WF_vars(Poll(o)) /\ WF_vars(Mark(o)) /\ WF_vars(Answered(o)) /\ WF_vars(DelayOver(o))
       /\ WF_vars(DeadLetter(o)) /\ WF_vars(DeadLettered(o))
       /\ WF_vars(Open(o, Take)) /\ WF_vars(Open(o, SayAck)) /\ WF_vars(Open(o, AckArrives)) /\ WF_vars(Open(o, NackArrives))
       /\ WF_vars(\E n \in Names : Join(o, n))

FairSpec == Spec /\ Fair

Alike == Permutations(Owners) \cup Permutations(Names)

----------------------------------------------------------------------------
(* What must hold. *)

Earned == acked \cup dropped \cup dlq

TypeOK ==
  /\ lease.epoch \in 0 .. MaxEpoch /\ row.cur \in -1 .. N-1
  /\ \A o \in Owners : own[o].st = "open" <=> own[o].open # {}

S1_SingleInFlight == \A o \in Owners : Cardinality(own[o].open) <= 1

S2_NothingSkipped ==
  /\ \A m \in Offsets : m <= row.cur => m \in Earned
  /\ \A o \in Owners, m \in Offsets : m <= own[o].cur => m \in Earned

Within(o) == own[o].st \in Up /\ own'[o].st \in Up /\ own[o].epoch = own'[o].epoch
Settles(o) == Within(o) /\ own'[o].cur > own[o].cur

S3_SettlementIsEarned ==
  [][\A o \in Owners : Settles(o) =>
       LET m == own[o].cur + 1
       IN /\ own'[o].cur = m
          /\ \/ \E d \in own[o].open : d.off = m /\ d.stage = "acked"
             \/ own[o].st = "blocked" /\ m \in dropped'
             \/ Policy = "drop" /\ own[o].fail = MaxRedeliveries /\ m \in dropped'
             \/ own[o].st = "dead_written" /\ m \in dlq]_vars

S4_CursorGrows == [][row'.cur >= row.cur /\ \A o \in Owners : Within(o) => own'[o].cur >= own[o].cur]_vars
\* Once an owner has read, nobody but the owner writes.
S4_FencedIsRefused == [][row' # row /\ (\E o \in Owners : own[o].st \in Up /\ Mine(o)) => row'.fence = lease.epoch]_vars

S7_Order ==
  /\ \A o \in Owners : \A d \in own[o].open : d.off = own[o].cur + 1 /\ d.att = own[o].att
  /\ \A o \in Owners : own[o].st \in InHand => own[o].cur + 1 < N
S7_AttemptsGrow == [][\A o \in Owners : Within(o) /\ own'[o].cur = own[o].cur => own'[o].att >= own[o].att
                        /\ \A d \in own'[o].open : (\A e \in own[o].open : e.att # d.att) => d.att > own[o].att]_vars

S8_RemovedIsNotAcked == [][\A o \in Owners : Within(o) /\ own[o].team # own'[o].team =>
                             acked' = acked /\ (Settles(o) => own[o].cur + 1 \in dropped')]_vars

S13_BlameIsJust ==
  [][\A o \in Owners :
       /\ Within(o) /\ ~Settles(o) =>
            LET over == {d \in own[o].open : \A e \in own'[o].open : e.att # d.att}
            IN \/ own'[o].fail = own[o].fail + Cardinality({d \in over : d.stage # "boxed"})
               \/ own[o].st = "blocked" /\ own'[o].fail = 0
       /\ own[o].st = "fenced" /\ own'[o].st \in Up \ {"idle"} => own'[o].fail > MaxRedeliveries]_vars

S13_VerdictExact ==
  [][\A o \in Owners : Within(o) /\ own[o].st \notin {"dead", "dead_written", "blocked"} /\ own'[o].st \in {"dead", "dead_written", "blocked"}
       => own[o].fail = MaxRedeliveries /\ own'[o].fail = MaxRedeliveries + 1]_vars

S13_PoisonGoesToNobody == \A o \in Owners : own[o].open # {} => own[o].fail <= MaxRedeliveries

DuplicatesBounded == \A o \in Owners : own[o].st \in Up /\ Mine(o) /\ row.fence = own[o].epoch => own[o].cur - row.cur <= MaxUnsaved

\* An exhausted message is in nobody's hand, so nothing more is charged to it.
ChargedToTheLimit == row.fail <= MaxRedeliveries + 1 /\ \A o \in Owners : own[o].fail <= MaxRedeliveries + 1

CrashLoopsEnd == kills <= MaxRedeliveries + 2

Done == row.cur = N-1 \/ \E o \in Owners : own[o].st = "blocked" /\ Mine(o)
L1_EverythingSettles == calm ~> Done
=============================================================================
