"""One method's search in one fold: an Optuna study that is asked and told in rounds of a fixed size, and rungs of inner
folds that what it asked for climbs.

A study asks for its next round, and for a rung, only when all before it is known, and is told in the order of its
trials. So the same seed asks for the same configurations however many trials run at once and however fast they are; and
a study that was interrupted is built again from the rows of its trials.
"""

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from benchmark import registry
from benchmark.config.schema import Config
from benchmark.errors import RunError
from benchmark.frozen.weights import Shapes
from benchmark.plan import Spec, Study
from benchmark.search.objectives import rank, values_of
from benchmark.search.samplers import first_points, sampler_of
from benchmark.search.space import MEMBER, FixedOr, Saving, searched_space
from benchmark.trial.folds import folds_of, merged, one_fold, only, score_of

INSISTS, MOST_ASKED = 20, 5000
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a study asks to be trained: its number, counted from 0, and the inner fold that is held out."""

    number: int
    inner: int
    options: Mapping[str, Any]


class SearchStudy:
    """A study that is asked with ``next`` and told with ``tell``.

    ``rows`` are those of its trials that were trained before: what they know is not asked for again.
    """

    def __init__(
        self, config: Config, study: Study, fixed: Mapping[str, Any], shapes: Shapes, rows: Sequence[Row] = ()
    ):
        options = config.method_options[study.method]
        self.study, self.method, self.fixed, self.blocks = study, study.method, dict(fixed), shapes.blocks
        self.saving = Saving(config, study.method, shapes)
        self.saving.check(self.fixed)
        self.together, self.shared = study.together, type(options).shared
        self.rungs, self.numbers = study.rungs, study.trials // study.together
        self.round_size = max(1, config.search.batch // self.together)
        self.objectives = config.search.objectives
        module = registry.search_space(study.method)
        assert module is not None
        space = searched_space(module, self.fixed, self.blocks)
        seed = config.seed + 1000 * study.fold
        self._sampler = sampler_of(config.search.sampler, seed, self.numbers, space, [*module.PAPER.values()])
        self._chance = RandomSampler(seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = study.name
        self.directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * (len(self.objectives) - 1)]
        self._study = optuna.create_study(directions=self.directions, sampler=self._sampler)
        for point in first_points(config, study.variant, space, module.PAPER):
            self._study.enqueue_trial(point)
        self._known = self._trained(rows)
        self._rows: dict[int, list[Row]] = {}
        self._trials: dict[int, tuple[optuna.Trial, Mapping[str, Any]]] = {}
        self._round: list[int] = []
        self._rung, self._waiting = 0, deque[tuple[int, int]]()
        self._running: set[tuple[int, int]] = set()
        self._lost = deque[Asked]()
        self.asked = 0
        """Trainings that were asked for, or known."""

    @property
    def width(self) -> int:
        """Processes that can train at once what it asks for."""
        return min(self.round_size, self.numbers) * self.study.workers

    @property
    def known(self) -> int:
        """How much of what there is to ask for is known from rows."""
        return len(self._known)

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask for."""
        last = self._rung == len(self.rungs) - 1
        return len(self._trials) == self.numbers and last and not self._waiting and not self._lost

    @property
    def over(self) -> bool:
        """Whether all that there is to ask for is known, too."""
        return self.finished and not self._running

    def peek(self) -> bool:
        """Whether there is anything to train that is not known."""
        if (asked := self.next()) is not None:
            self.again(asked)
        return asked is not None

    def next(self) -> Asked | None:
        """What to train next; None where nothing is left, or what runs must be known first."""
        if self._lost:
            return self._lost.popleft()
        while (job := self._next()) is not None:
            number, inner = job
            self.asked += 1
            if job not in self._known:
                self._running.add(job)
                return Asked(number, inner, self._trials[number][1])
            self._take(number, self._known[job])
        return None

    def tell(self, number: int, inner: int, rows: Sequence[Row]) -> None:
        """The rows of what was trained together as one number on one fold."""
        self._running.remove((number, inner))
        self._take(number, rows)

    def told(self, but: int = 0) -> list[FrozenTrial]:
        """What Optuna was told of what was asked for, in that order and but for so many of the first; with the last
        round when all is done. ``user_attrs["number"]`` is that of ``Asked``."""
        if self.finished:
            self._close_round()
        asked = {trial.number: number for number, (trial, _) in self._trials.items()}
        every = self._study.get_trials(deepcopy=False)
        found = copy.deepcopy([one for one in every if one.number in asked and one.state.is_finished()][but:])
        for one in found:
            one.set_user_attr("number", asked[one.number])
        return found

    def again(self, asked: Asked) -> None:
        """What was asked for was lost, and is asked for again before anything else."""
        self._lost.append(asked)

    def fail(self, asked: Asked) -> None:
        """What was asked for came to no row."""
        failed = {"status": "failed", "folds": one_fold(asked.inner, "failed")}
        self.tell(asked.number, asked.inner, [failed] * self.together)

    def _take(self, number: int, rows: Sequence[Row]) -> None:
        earlier = self._rows.get(number, [None] * len(rows))
        self._rows[number] = [merged(before, row) for before, row in zip(earlier, rows, strict=True)]

    def _next(self) -> tuple[int, int] | None:
        number = len(self._trials)
        if number < self.numbers:
            if len(self._round) == self.round_size and not self._close_round():
                return None
            self._trials[number] = self._ask()
            self._round.append(number)
            return number, 0
        while not self._waiting and self._rung < len(self.rungs) - 1:
            if self._running:
                return None
            self._climb()
        return self._waiting.popleft() if self._waiting else None

    def _close_round(self) -> bool:
        """Hand a round over to Optuna, if all of it is known."""
        if any((number, 0) in self._running for number in self._round):
            return False
        for number in self._round:
            trial, row = self._trials[number][0], self._best(number)
            if row is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, values_of(row, self.objectives), skip_if_finished=True)
        self._round.clear()
        return True

    def _climb(self) -> None:
        """Send the best of a rung to the next one; what failed, diverged or was stopped early stays behind."""
        self._rung += 1
        rung, below = self.rungs[self._rung], range(self.rungs[self._rung].folds.start)
        found = {number: row for number in self._rows if (row := self._best(number)) is not None}
        whole = {
            number: row
            for number, row in found.items()
            if row["status"] == "done" and folds_of(row).keys() >= set(below)
        }
        best = rank(whole, self.objectives)[: rung.trials]
        self._waiting.extend((number, inner) for inner in rung.folds for number in sorted(best))

    def _best(self, number: int) -> Row | None:
        """The best row of what was trained together; None where none has a score."""
        rows = [row for row in self._rows[number] if row["status"] in ("done", "pruned")]
        if any(row["status"] == "failed" for row in self._rows[number]):
            return None
        return max(rows, key=score_of, default=None)

    def _trained(self, rows: Sequence[Row]) -> dict[tuple[int, int], list[Row]]:
        """What the rows of a study know: by number and fold the rows of what was trained together.

        A fold that failed is known as that only if something was asked for that depends on it; else it is tried again.
        """
        members: dict[int, list[Row]] = {}
        for row in sorted(rows, key=lambda row: row["trial_id"]):
            members.setdefault(int(row["trial_id"].rpartition("-")[2]) // self.together, []).append(row)
        known: dict[tuple[int, int], list[Row]] = {}
        for number, mine in members.items():
            common = set.intersection(*({*folds_of(row)} for row in mine))
            if len(mine) == self.together:
                known |= {(number, inner): [only(row, inner) for row in mine] for inner in common}
        last_rung = max((inner for _, inner in known), default=0)
        last_round = max((number for number, _ in known), default=0) // self.round_size

        def built_on(number: int, inner: int) -> bool:
            rung = next(rung for rung in self.rungs if inner in rung.folds)
            return last_rung >= rung.folds.stop or (inner == 0 and number // self.round_size < last_round)

        def failed(rows: Sequence[Row]) -> bool:
            return any(row["status"] == "failed" for row in rows)

        return {job: mine for job, mine in known.items() if not failed(mine) or built_on(*job)}

    def _ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """The next point of the space that saves enough; others are no trials.

        The sampler hears of the first other one, so that it learns where to look; where it insists, chance goes on.
        """
        for tries in range(MOST_ASKED):
            self._study.sampler = self._sampler if tries < INSISTS else self._chance
            trial = self._study.ask()
            options = self._define(trial)
            enough = all(map(self.saving.enough, members_of(options, self.together)))
            if enough:
                trial.set_constraint("saving", -1.0)
                self._study.sampler = self._sampler
                return trial, options
            if tries == 0:
                trial.set_constraint("saving", 1.0)
                self._study.tell(trial, [0.0] * len(self.objectives))
            else:
                self._study.tell(trial, state=TrialState.FAIL)
        raise RunError(
            f"search.min_reduction={self.saving.least}: none of {MOST_ASKED} points of the search space of "
            f"{self.method} saves so much; lower it"
        )

    def _define(self, trial: optuna.Trial) -> dict[str, Any]:
        space = registry.search_space(self.method)
        assert space is not None
        for member in range(self.together):
            space.space(FixedOr(trial, self.fixed, member, self.shared), self.blocks)
        return {**self.fixed, **trial.params}


def config_of(study: Study, asked: Asked) -> dict[str, Any]:
    """What was asked for, as plain values that travel."""
    about = {"study": study.name, "number": asked.number, "inner": asked.inner, "options": dict(asked.options)}
    return {**about, "workers": study.workers}


def asked_of(config: Mapping[str, Any]) -> Asked:
    """What ``config_of`` made."""
    return Asked(config["number"], config["inner"], config["options"])


def specs_of(study: Study, seed: int, asked: Asked) -> list[Spec]:
    """The trials of what was asked for: one, or all that are trained together."""
    common = {name: value for name, value in asked.options.items() if MEMBER not in name}
    members = members_of(asked.options, registry.options_of(study.method, common).trained_together)
    return [
        Spec(
            study.method,
            "search",
            f"{study.name}-{k:03d}",
            study.fold,
            seed,
            member,
            study.leakage,
            inner=asked.inner,
            folds=study.folds,
            calibration=study.calibration,
        )
        for k, member in enumerate(members, start=asked.number * len(members))
    ]


def members_of(options: Mapping[str, Any], together: int) -> list[dict[str, Any]]:
    """The options of each of so many trials that are trained together."""
    common = {name: value for name, value in options.items() if MEMBER not in name}
    return [
        {**common, **{name.partition(MEMBER)[0]: v for name, v in options.items() if name.endswith(f"{MEMBER}{k}")}}
        for k in range(together)
    ]
