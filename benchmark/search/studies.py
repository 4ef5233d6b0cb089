"""One method's search in one fold: an Optuna study that is asked and told in rounds of a fixed size.

A study asks for its next round only when all of the last one is known, and is told in the order of its trials. So the
same seed asks for the same configurations however many trials run at once and however fast they are; and a study that
was interrupted is built again from the rows of its trials.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from benchmark import registry
from benchmark.config.schema import Config
from benchmark.errors import RunError
from benchmark.frozen.weights import Shapes
from benchmark.plan import Spec, Study
from benchmark.search.samplers import first_points, sampler_of
from benchmark.search.space import MEMBER, FixedOr, Saving, searched_space

NUMBER = "number"
"""The key of a searched configuration under which the study gives the trial's number."""
INSISTS, MOST_ASKED = 20, 5000


class SearchStudy:
    """A study that is asked with ``next`` and told with ``tell``. Trials are numbered from 0.

    ``known`` are scores by number of trials that have run before, None where they failed: they are not asked for again.
    """

    def __init__(
        self, config: Config, study: Study, fixed: Mapping[str, Any], shapes: Shapes, known: Mapping[int, float | None]
    ):
        options = config.method_options[study.method]
        self.method, self.fixed, self.blocks, self.known = study.method, dict(fixed), shapes.blocks, known
        self.saving = Saving(config, study.method, shapes)
        self.saving.check(self.fixed)
        self.together, self.shared = options.trained_together, type(options).shared
        self.trials = study.trials // self.together
        self.round_size = max(1, config.search.batch // self.together)
        module = registry.search_space(study.method)
        assert module is not None
        space = searched_space(module, self.fixed, self.blocks)
        seed = config.seed + 1000 * study.fold
        self._sampler = sampler_of(config.search.sampler, seed, self.trials, space, [*module.PAPER.values()])
        self._chance = RandomSampler(seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", sampler=self._sampler)
        for point in first_points(config, study.method, space, module.PAPER):
            self._study.enqueue_trial(point)
        self._asked = 0
        self._round: dict[int, optuna.Trial] = {}
        self._told: dict[int, float | None] = {}

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask for."""
        return self._asked == self.trials

    def next(self) -> dict[str, Any] | None:
        """Options to try, under ``NUMBER`` their number; None where none is left, or the round must be known first."""
        while not self.finished:
            if len(self._round) == self.round_size and not self._close_round():
                return None
            number = self._asked
            trial, options = self._ask()
            self._asked += 1
            self._round[number] = trial
            if number not in self.known:
                return {**options, NUMBER: number}
            self.tell(number, self.known[number])
        return None

    def tell(self, number: int, score: float | None) -> None:
        """What came of a trial; None for one that failed."""
        self._told[number] = score

    def _close_round(self) -> bool:
        """Hand a round over to Optuna, if all of it is known."""
        if self._round.keys() - self._told.keys():
            return False
        for number, trial in sorted(self._round.items()):
            score = self._told[number]
            if score is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, score, skip_if_finished=True)
        self._round.clear()
        return True

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
                self._study.tell(trial, 0.0)
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


def specs_of(study: Study, seed: int, asked: Mapping[str, Any]) -> list[Spec]:
    """The trials of what was asked for: one, or all that are trained together."""
    number = asked.get(NUMBER, 0)
    options = {name: value for name, value in asked.items() if name != NUMBER}
    common = {name: value for name, value in options.items() if MEMBER not in name}
    members = members_of(options, registry.options_of(study.method, common).trained_together)
    return [
        Spec(study.method, "search", f"{study.name}-{k:03d}", study.fold, seed, member, study.leakage)
        for k, member in enumerate(members, start=number * len(members))
    ]


def members_of(options: Mapping[str, Any], together: int) -> list[dict[str, Any]]:
    """The options of each of so many trials that are trained together."""
    common = {name: value for name, value in options.items() if MEMBER not in name}
    return [
        {**common, **{name.partition(MEMBER)[0]: v for name, v in options.items() if name.endswith(f"{MEMBER}{k}")}}
        for k in range(together)
    ]


def known_scores(rows: Sequence[Mapping[str, Any]], together: int, round_size: int) -> dict[int, float | None]:
    """Scores by number of the trials of a study that have rows: the best of those that were trained together.

    A trial that failed is known as that only if a later round was asked for behind it; else it is tried again.
    """
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(int(row["trial_id"].rpartition("-")[2]) // together, []).append(row)
    last_round = max(found, default=0) // round_size
    known: dict[int, float | None] = {}
    for number, of_number in found.items():
        failed = any(row["status"] == "failed" for row in of_number)
        if len(of_number) == together and not (failed and number // round_size == last_round):
            known[number] = None if failed else score_together(of_number)
    return known


def score_together(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The best of trials that were trained together; None where all of them diverged."""
    return max((score_of(row) for row in rows if row["status"] != "diverged"), default=None)


def score_of(row: Mapping[str, Any]) -> float:
    """What the protocol chooses by: balanced accuracy on val where labels may be read, else balanced agreement."""
    accuracy = row.get("val_balanced_accuracy")
    return float(row["val_balanced_agreement"] if accuracy is None else accuracy)
