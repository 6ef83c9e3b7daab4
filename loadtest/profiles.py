"""What a run does, as a list of phases.  Every phase is bounded in time and in requests at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from loadtest.kinds import KINDS, MAIN

WARM, PROBE, STEP, QUIET, SPIKE, RECOVERY, HOLD, DOOR = "warm-up", "probe", "step", "quiet", "spike", "recovery", "hold", "door"
HELD = (HOLD, QUIET)
"""Loads that a deployment is meant to bear, so a request that was never sent has failed."""
SETTLE_S = 1
"""The first second of a phase is not judged: queues fill or empty."""


@dataclass(frozen=True)
class Phase:
    """Some seconds of one kind of request.

    rate: requests a second, None for a closed loop; share: instead of a rate, of what the probe (or --rate) says.
    """

    role: str
    kind: str
    seconds: float
    users: int
    rate: float | None = None
    share: float | None = None

    @property
    def closed(self) -> bool:
        """Whether a user sends its next request when the last is answered."""
        return self.rate is None and self.share is None


@dataclass(frozen=True)
class Plan:
    """What the caller chose.  seconds: of each hold or step, None = the profile's own."""

    kind: str = MAIN
    users: int = 64
    seconds: float | None = None
    rate: float | None = None
    kinds: tuple[str, ...] = tuple(KINDS)


def _lead_in(plan: Plan, probe_s: float = 8) -> list[Phase]:
    """Warm up every connection; without a rate to refer to, find out roughly how much is answered."""
    phases = [Phase(WARM, plan.kind, 3, plan.users)]
    if plan.rate is None:
        phases.append(Phase(PROBE, plan.kind, probe_s, plan.users))
    return phases


def _at(plan: Plan, role: str, share: float, seconds: float) -> Phase:
    return Phase(role, plan.kind, seconds, plan.users, share=share)


STANDARD_SHARES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.15)
RAMP_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)


def standard(plan: Plan) -> list[Phase]:
    """Two minutes: steps over the knee, a spike, then every door of the deployment by itself."""
    phases = _lead_in(plan)
    phases += [_at(plan, STEP, share, plan.seconds or 6) for share in STANDARD_SHARES]
    phases += [_at(plan, QUIET, 0.3, 3), _at(plan, SPIKE, 2.0, 3), _at(plan, RECOVERY, 0.3, 6)]
    return phases + doors(plan)


def ramp(plan: Plan) -> list[Phase]:
    """More and longer steps, to find the knee."""
    return _lead_in(plan, 15) + [_at(plan, STEP, share, plan.seconds or 20) for share in RAMP_SHARES]


def steady(plan: Plan) -> list[Phase]:
    """One rate, held: --rate, or half of what the probe says."""
    return [*_lead_in(plan), _at(plan, HOLD, 1.0 if plan.rate else 0.5, plan.seconds or 60)]


def spike(plan: Plan) -> list[Phase]:
    """Quiet, three times what is answered, quiet again; twice."""
    once = [_at(plan, QUIET, 0.3, 10), _at(plan, SPIKE, 3.0, plan.seconds or 10), _at(plan, RECOVERY, 0.3, 20)]
    return _lead_in(plan) + once + once


def soak(plan: Plan) -> list[Phase]:
    """Half of what is answered for half an hour, to see what grows."""
    return [*_lead_in(plan), _at(plan, HOLD, 1.0 if plan.rate else 0.5, plan.seconds or 1800)]


def closed(plan: Plan) -> list[Phase]:
    """A closed loop: each user waits for its answer."""
    return [Phase(WARM, plan.kind, 3, plan.users), Phase(HOLD, plan.kind, plan.seconds or 60, plan.users)]


def doors(plan: Plan) -> list[Phase]:
    """Every kind of request for a few seconds in a closed loop, to compare them."""
    return [Phase(DOOR, kind, plan.seconds or 4, min(16, plan.users)) for kind in plan.kinds]


def ceiling(plan: Plan) -> list[Phase]:
    """The single drawings of every door in a closed loop: against a stub this is what the generator can send."""
    singles = [kind for kind in plan.kinds if KINDS[kind].drawings == 1]
    return [Phase(HOLD, kind, plan.seconds or 3, min(32, plan.users)) for kind in singles]


PROFILES: dict[str, Callable[[Plan], list[Phase]]] = {
    profile.__name__: profile for profile in (standard, ramp, steady, spike, soak, closed, doors, ceiling)
}


def phases_of(profile: str, plan: Plan) -> list[Phase]:
    """The phases of a profile; shares are of plan.rate where that is given, else of the probe."""
    phases = PROFILES[profile](plan)
    if plan.rate is not None:
        phases = [one if one.share is None else replace(one, rate=one.share * plan.rate, share=None) for one in phases]
    return phases
