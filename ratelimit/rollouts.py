"""How a changed policy gets into force: in shadow, for a percentage of tenants, for all; or back.

Each step is one conditional UPDATE whose row count decides who won, with its record; and every
process reads the policies again (`ratelimit.revision`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction

import audit
from audit import clock
from ratelimit import draft, revision
from ratelimit.draft import BadDraft, Draft
from ratelimit.models import PolicyRow, Rollout

Stage = Rollout.Stage
#: Where the next step leads if nobody says another: 10 % of tenants, a half, all.
PERCENTAGES = (10, 50)
SYSTEM = "system:rollouts"


class Refused(Exception):
    """The roll-out cannot go on so; `code` is stable."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class Figures(NamedTuple):
    """Of the requests that the numbers in force admit: how many the changed ones admit, refuse."""

    admitted: int
    refused: int


def live() -> Rollout | None:
    """The roll-out that goes on, if there is one."""
    return Rollout.objects.select_related("policy").filter(live=True).first()


def start(plan: Draft, *, actor: str, bound: float = 1.0, least: int = 200) -> Rollout:
    """Begin to count what the changed numbers would refuse. Raises `BadDraft` and `Refused`."""
    changes = plan.changes()
    if not changes:
        raise BadDraft("nothing_changes", plan.policy, "these numbers are in force")
    rollout = Rollout(
        policy=PolicyRow.objects.get(name=plan.policy),
        draft=plan.document,
        bound=bound,
        least=least,
    )
    try:
        with transaction.atomic():
            rollout.save(force_insert=True)
            _tell("policy.rollout_started", rollout, actor, {"changes": changes, "bound": bound})
    except IntegrityError as error:
        raise Refused("already_running", "another roll-out goes on: end it first") from error
    return rollout


def advance(rollout: Rollout, *, actor: str, percent: int | None = None) -> None:
    """Go on to the next step, or to a `percent` of tenants. Raises `Refused`."""
    stage, percent = _next(rollout, percent)
    told = {"percent": percent, **_figures(rollout)}
    with transaction.atomic():
        _move(rollout, stage=stage, percent=percent, admitted=0, refused=0)
        if stage is Stage.DONE:
            _put_in_force(rollout, actor)
        _tell("policy.rollout_advanced", rollout, actor, told)


def abort(rollout: Rollout, *, actor: str, why: str = "") -> None:
    """Give it up: what was in force holds for all. Raises `Refused`."""
    with transaction.atomic():
        told = {"why": why, "left": rollout.stage, **_figures(rollout)}
        _move(rollout, stage=Stage.ABORTED, why=why[:200])
        _tell("policy.rollout_aborted", rollout, actor, told)


def withdraw(rollout: Rollout, figures: Figures) -> bool:
    """Take it back because it refuses too many; False when it had moved on already."""
    rollout.admitted, rollout.refused = figures
    why = f"refused {rollout.share:.1f} % of what was admitted before; {rollout.bound:g} % may be"
    told = {"why": why, "left": rollout.stage, "bound": rollout.bound, **_figures(rollout)}
    try:
        with transaction.atomic():
            _move(rollout, stage=Stage.WITHDRAWN, why=why)
            _tell("policy.rollout_withdrawn", rollout, SYSTEM, told)
    except Refused:
        return False
    return True


def note(rollout: Rollout, figures: Figures) -> None:
    """Keep what was counted in this step, for people to look at."""
    here = Rollout.objects.filter(pk=rollout.pk, step=rollout.step, live=True)
    here.update(admitted=figures.admitted, refused=figures.refused)


def _next(rollout: Rollout, percent: int | None) -> tuple[Stage, int]:
    stage = Stage(rollout.stage)
    if percent is not None:
        if not rollout.percent < percent < 100 or stage not in (Stage.SHADOW, Stage.PERCENTAGE):
            words = f"a percentage is more than {rollout.percent} and less than 100"
            raise Refused("bad_percent", words)
        return Stage.PERCENTAGE, percent
    if stage is Stage.ALL:
        return Stage.DONE, 100
    larger = [each for each in PERCENTAGES if each > rollout.percent]
    return (Stage.PERCENTAGE, larger[0]) if larger else (Stage.ALL, 100)


def _move(rollout: Rollout, *, stage: Stage, **columns: Any) -> None:
    goes_on = stage in (Stage.SHADOW, Stage.PERCENTAGE, Stage.ALL)
    columns |= {"stage": stage, "step": rollout.step + 1, "changed_at": clock.now()}
    columns["live"] = goes_on or None
    as_read = Rollout.objects.filter(pk=rollout.pk, step=rollout.step, live=True)
    if not as_read.update(**columns):
        raise Refused("not_running", "it has ended, or somebody else has moved it")
    for name, value in columns.items():
        setattr(rollout, name, value)


def _put_in_force(rollout: Rollout, actor: str) -> None:
    (plan,) = draft.read({rollout.policy.name: rollout.draft})
    changes = plan.changes()
    row = PolicyRow.objects.get(pk=rollout.policy_id)
    limits = {limit.name: limit for limit in row.limits.all()}
    plan.put_on(row, limits)
    row.save()
    for limit in limits.values():
        limit.save()
    subject = f"policy:{row.name}"
    audit.record_with_change("policy.changed", subject=subject, actor=actor, detail=changes)


def _figures(rollout: Rollout) -> dict[str, Any]:
    return {"admitted": rollout.admitted, "refused": rollout.refused}


def _tell(action: str, rollout: Rollout, actor: str, detail: Mapping[str, Any]) -> None:
    audit.record_with_change(
        action,
        subject=f"rollout:{rollout.pk}",
        subject_version=rollout.step,
        actor=actor,
        detail={"policy": rollout.policy.name, "stage": str(rollout.stage), **detail},
    )
    revision.bump()
