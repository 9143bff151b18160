"""Sweeps in a storage of Optuna's: a study is a sweep, a trial of the study a number of the sweep.

What Optuna has no room for stands in attributes: ``sweep`` and ``state`` of a study; ``proposal`` (what to try), ``claim`` (whose it
is, until when) and ``end`` of a trial. Every decision is made under the storage's lock, and its last write is the one that counts: a
process that dies in between leaves a trial that is handed on.
"""

from __future__ import annotations

import math
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from lineage.adapters.sweeps.proposals import Beyond, Later, Past, next_proposal
from lineage.adapters.sweeps.quiet import quiet
from lineage.adapters.sweeps.storages import open_storage, told
from lineage.errors import Conflict, IntegrityError, LeaseLost, NotFound, UsageError
from lineage.model.digest import Digest
from lineage.model.sweep_file import SweepDefinition, parse_definition
from lineage.model.sweep_rungs import badness, falls_short
from lineage.ports.sweeps import Over, Sweep, SweepState, Trial, TrialEnd, TrialState, Wait

ATTEMPTS = 5
"""So often a trial is begun at most: one that kills every agent must not end the sweep."""
_LETTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 8
_ENDS: dict[TrialEnd, OptunaState] = {
    "complete": OptunaState.COMPLETE,
    "failed": OptunaState.FAIL,
    "stopped": OptunaState.PRUNED,
}


@dataclass(slots=True)
class _Course:
    """What a trial told so far, in the engine that its agent uses."""

    best: float = math.inf
    rungs: dict[int, float] = field(default_factory=dict)
    stopped_at: int | None = None


class OptunaSweepEngine:
    """See :class:`lineage.ports.sweeps.SweepEngine`.

    Args:
        place: ``postgresql://…``, a path that ends in ``.journal``, or that of a SQLite file.

    Raises:
        Unavailable: The storage cannot be opened.
    """

    def __init__(self, place: str) -> None:
        with quiet():
            self._kept = open_storage(place)
        self._storage = self._kept.storage
        self._known: dict[str, tuple[int, Sweep]] = {}
        self._courses: dict[str, _Course] = {}

    def create(self, definition: SweepDefinition, digest: Digest, *, seed: int, parallel: int, project: str) -> Sweep:
        if parallel < 1:
            raise UsageError(f"expected at least 1 trial at a time, found {parallel}")
        if not 0 <= seed < 2**63:
            raise UsageError(f"expected a seed from 0 to 2**63 - 1, found {seed}")
        goal = definition.metric.goal if definition.metric is not None else "minimize"
        direction = StudyDirection.MINIMIZE if goal == "minimize" else StudyDirection.MAXIMIZE
        at = datetime.now(UTC)
        with self._telling():
            while True:
                sweep_id = "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))
                try:
                    study_id = self._storage.create_new_study([direction], sweep_id)
                except optuna.exceptions.DuplicatedStudyError:
                    continue
                break
            kept = {
                "definition": definition.as_json(),
                "digest": digest,
                "seed": seed,
                "parallel": parallel,
                "project": project,
                "name": definition.name or sweep_id,
                "created_at": at.isoformat(),
            }
            self._storage.set_study_user_attr(study_id, "state", "running")
            self._storage.set_study_user_attr(study_id, "sweep", kept)
        return _sweep(sweep_id, {"sweep": kept, "state": "running"})

    def get(self, sweep_id: str) -> Sweep:
        with self._telling():
            if len(sweep_id) == _ID_LENGTH:
                return self._fresh(sweep_id)[1]
            found = [study.study_name for study in self._storage.get_all_studies() if "sweep" in study.user_attrs]
            found = [name for name in found if name.startswith(sweep_id)]
            if len(found) == 1:
                return self._fresh(found[0])[1]
        if not found or not sweep_id:
            raise NotFound("sweep", sweep_id, hint="`lineage sweeps` lists them")
        raise UsageError(f"'{sweep_id}' fits {len(found)} sweeps: {', '.join(sorted(found)[:5])}", hint="give more characters of the id")

    def all(self) -> list[Sweep]:
        with self._telling():
            studies = self._storage.get_all_studies()
        found = [_sweep(study.study_name, study.user_attrs) for study in studies if "sweep" in study.user_attrs]
        return sorted(found, key=lambda sweep: (sweep.created_at, sweep.id), reverse=True)

    def claim(self, sweep_id: str, agent: str, lease_s: float) -> Trial | Wait | Over:
        with self._telling(), self._kept.alone(self._study(sweep_id)) as now:
            return self._claim(sweep_id, agent, lease_s, now)

    def _claim(self, sweep_id: str, agent: str, lease_s: float, now: float) -> Trial | Wait | Over:
        study_id, sweep = self._fresh(sweep_id)
        if sweep.state != "running":
            return Over(_OVER[sweep.state])
        trials = self._trials(study_id)
        for trial in trials:
            if not trial.state.is_finished() and trial.user_attrs["claim"]["until"] <= now:
                if (attempt := trial.user_attrs["claim"]["attempt"] + 1) <= ATTEMPTS:
                    claim = _claim_of(agent, attempt, lease_s, now)
                    self._storage.set_trial_user_attr(trial._trial_id, "claim", claim)
                    return _owned(sweep_id, trial.number, trial.user_attrs["proposal"], claim)
                self._end(trial, "failed", None, None, _Course(), trial.user_attrs["claim"]["token"])
                trials = self._trials(study_id)
        found = next_proposal(sweep, [_past(trial) for trial in trials])
        match found:
            case Later(reason):
                return Wait(reason)
            case Beyond(reason):
                under_way = [trial.number for trial in trials if not trial.state.is_finished()]
                if under_way:  # one of their agents may die
                    return Wait(f"nothing is left to begin; trial {under_way[0]} is under way")
                self._storage.set_study_user_attr(study_id, "state", "finished")
                return Over(reason)
        proposal = {"parameters": found.parameters, "coordinates": found.coordinates}
        claim = _claim_of(agent, 1, lease_s, now)
        template = create_trial(state=OptunaState.RUNNING, user_attrs={"proposal": proposal, "claim": claim})
        made = self._storage.create_new_trial(study_id, template)
        number = self._storage.get_trial_number_from_id(made)
        if number != len(trials):
            raise IntegrityError(f"sweep {sweep_id}", expected=f"trial {len(trials)} next", found=str(number), hint="others write to it")
        return _owned(sweep_id, number, proposal, claim)

    def beat(self, trial: Trial) -> bool:
        with self._telling(), self._owner(trial) as (now, kept, sweep):
            if kept is None or sweep.state == "cancelled":
                return False
            self._storage.set_trial_user_attr(kept._trial_id, "claim", kept.user_attrs["claim"] | {"until": now + trial.lease_s})
            return True

    def release(self, trial: Trial) -> None:
        with self._telling(), self._owner(trial) as (now, kept, _):
            if kept is not None:
                self._storage.set_trial_user_attr(kept._trial_id, "claim", kept.user_attrs["claim"] | {"until": now})
        self._courses.pop(trial.token, None)

    def report(self, trial: Trial, iteration: int, value: float) -> bool:
        if trial.sweep_id not in self._known:
            with self._telling():
                self._fresh(trial.sweep_id)
        study_id, sweep = self._known[trial.sweep_id]
        rule, metric = sweep.definition.early_terminate, sweep.definition.metric
        if rule is None or metric is None:
            return False
        course = self._courses.setdefault(trial.token, _Course())
        if course.stopped_at is not None:
            return True
        bad = badness(value, metric.goal)
        course.best = min(course.best, bad)
        if iteration not in rule.rungs:
            return False
        course.rungs[iteration] = bad
        with self._telling():
            seen = self._trials(study_id)[: max(trial.number - sweep.parallel + 1, 0)]
        others = [float(past.rungs[rung]) for past in map(_past, seen) if (rung := str(iteration)) in past.rungs]
        if falls_short(bad if rule.strict else course.best, bad, others, rule.eta):
            course.stopped_at = iteration
        return course.stopped_at is not None

    def finish(self, trial: Trial, state: TrialEnd, value: float | None, run_id: str) -> None:
        with self._telling(), self._owner(trial) as (_, kept, sweep):
            if kept is not None:
                course = self._courses.get(trial.token, _Course())
                self._end(kept, state, value, run_id, course, trial.token)
                self._finish_sweep(sweep)
            else:
                end = self._trial(trial).user_attrs.get("end", {})
                told_before = (end.get("token"), end.get("state"), end.get("value"), end.get("run_id"))
                if told_before != (trial.token, state, _plain(value), run_id):
                    raise LeaseLost(f"{trial.sweep_id}/{trial.number}")
        self._courses.pop(trial.token, None)

    def trials(self, sweep_id: str) -> list[TrialState]:
        with self._telling():
            study_id = self._study(sweep_id)
            return [_told(trial) for trial in self._trials(study_id)]

    def set_state(self, sweep_id: str, state: Literal["running", "stopped", "cancelled"]) -> Sweep:
        with self._telling():
            study_id = self._study(sweep_id)
            with self._kept.alone(study_id):
                sweep = self._fresh(sweep_id)[1]
                if sweep.state in ("finished", "cancelled") and sweep.state != state:
                    raise Conflict(f"sweep {sweep_id} is {sweep.state}: that is for good", hint="begin another one with the same seed")
                self._storage.set_study_user_attr(study_id, "state", state)
        return replace(sweep, state=state)

    def close(self) -> None:
        self._kept.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        with quiet(), told(self._kept.location):
            self._kept.check()
            yield

    def _study(self, sweep_id: str) -> int:
        """Its number in the storage, which never changes."""
        if sweep_id not in self._known:
            self._fresh(sweep_id)
        return self._known[sweep_id][0]

    def _fresh(self, sweep_id: str) -> tuple[int, Sweep]:
        """The sweep with its state of this moment."""
        try:
            study_id = self._known[sweep_id][0] if sweep_id in self._known else self._storage.get_study_id_from_name(sweep_id)
        except KeyError:
            raise NotFound("sweep", sweep_id, hint="`lineage sweeps` lists them") from None
        attributes = self._storage.get_study_user_attrs(study_id)
        if "sweep" not in attributes:
            raise NotFound("sweep", sweep_id, hint="`lineage sweeps` lists them")
        if sweep_id not in self._known:
            self._known[sweep_id] = (study_id, _sweep(sweep_id, attributes))
        self._known[sweep_id] = (study_id, replace(self._known[sweep_id][1], state=attributes["state"]))
        return self._known[sweep_id]

    def _trials(self, study_id: int) -> list[FrozenTrial]:
        return self._storage.get_all_trials(study_id, deepcopy=False)

    def _trial(self, trial: Trial) -> FrozenTrial:
        study_id = self._known[trial.sweep_id][0]
        return self._storage.get_trial(self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number))

    @contextmanager
    def _owner(self, trial: Trial) -> Iterator[tuple[float, FrozenTrial | None, Sweep]]:
        """The time, the trial as it is kept while it is its owner's, and the sweep; under the lock."""
        with self._kept.alone(self._study(trial.sweep_id)) as now:
            sweep = self._fresh(trial.sweep_id)[1]
            kept = self._trial(trial)
            is_owner = not kept.state.is_finished() and kept.user_attrs["claim"]["token"] == trial.token
            yield now, kept if is_owner else None, sweep

    def _end(self, trial: FrozenTrial, state: TrialEnd, value: float | None, run_id: str | None, course: _Course, token: str) -> None:
        rungs = {} if state == "failed" else {str(rung): _plain(bad) for rung, bad in course.rungs.items()}
        end = {"state": state, "value": _plain(value), "run_id": run_id, "token": token, "stopped_at": course.stopped_at, "rungs": rungs}
        self._storage.set_trial_user_attr(trial._trial_id, "end", end)
        values = None if state == "failed" or value is None or math.isnan(value) else [value]
        ended = OptunaState.FAIL if state == "complete" and values is None else _ENDS[state]
        self._storage.set_trial_state_values(trial._trial_id, ended, values)

    def _finish_sweep(self, sweep: Sweep) -> None:
        study_id = self._known[sweep.id][0]
        trials = self._trials(study_id)
        if sweep.state != "running" or not all(trial.state.is_finished() for trial in trials):
            return
        if isinstance(next_proposal(sweep, [_past(trial) for trial in trials], only_whether=True), Beyond):
            self._storage.set_study_user_attr(study_id, "state", "finished")


_OVER: dict[SweepState, str] = {
    "stopped": "the sweep was stopped",
    "cancelled": "the sweep was cancelled",
    "finished": "the sweep is finished",
}


def _sweep(sweep_id: str, attributes: dict[str, Any]) -> Sweep:
    kept = attributes["sweep"]
    return Sweep(
        id=sweep_id,
        definition=parse_definition(kept["definition"], f"sweep {sweep_id}"),
        digest=kept["digest"],
        seed=kept["seed"],
        parallel=kept["parallel"],
        project=kept["project"],
        name=kept["name"],
        created_at=datetime.fromisoformat(kept["created_at"]),
        state=attributes["state"],
    )


def _claim_of(agent: str, attempt: int, lease_s: float, now: float) -> dict[str, Any]:
    return {"token": secrets.token_hex(8), "agent": agent, "attempt": attempt, "lease_s": lease_s, "until": now + lease_s}


def _owned(sweep_id: str, number: int, proposal: dict[str, Any], claim: dict[str, Any]) -> Trial:
    return Trial(sweep_id, number, claim["attempt"], dict(proposal["parameters"]), claim["token"], claim["lease_s"])


def _past(trial: FrozenTrial) -> Past:
    end = trial.user_attrs.get("end") if trial.state.is_finished() else None
    coordinates = trial.user_attrs["proposal"]["coordinates"]
    if end is None:
        return Past(coordinates, None)
    return Past(coordinates, end["state"], _number(end["value"]), end["stopped_at"], end["rungs"])


def _told(trial: FrozenTrial) -> TrialState:
    claim = trial.user_attrs["claim"]
    # What stands there before the trial is finished does not count: whoever wrote it may have died over it.
    end = trial.user_attrs.get("end") if trial.state.is_finished() else None
    return TrialState(
        number=trial.number,
        attempt=claim["attempt"],
        parameters=dict(trial.user_attrs["proposal"]["parameters"]),
        state="running" if end is None else cast(TrialEnd, end["state"]),
        value=None if end is None else _number(end["value"]),
        run_id=None if end is None else end["run_id"],
        agent=claim["agent"],
    )


def _plain(value: float | None) -> float | str | None:
    # JSON has no word for the others, and PostgreSQL would not read ours.
    return value if value is None or math.isfinite(value) else str(float(value))


def _number(kept: float | str | None) -> float | None:
    return None if kept is None else float(kept)
