"""One method's search in one fold: an Optuna study that is asked and told in rounds of a fixed size.

A study asks for its next round only when all of the last one is known, and is told in the order of its trials. So the
same seed asks for the same configurations however many trials run at once and however fast they are; and a study that
was interrupted is built again from the rows of its trials.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from benchmark import registry
from benchmark.config.options import Blocks
from benchmark.config.schema import Config
from benchmark.plan import Spec, Study

NUMBER = "number"
"""The key of a searched configuration under which the study gives the trial's number."""
MEMBER = "@"
"""``rank@2``: the rank of the third of trials that are trained together; what has no ``@`` is the first one's, and
shared."""


class FixedOr:
    """An Optuna trial that does not search what the user has fixed.

    For a later ``member`` of trials that are trained together, what it does not share with the first is asked for under
    a name of its own.
    """

    def __init__(self, trial: optuna.Trial, fixed: Mapping[str, Any], member: int = 0, shared: Sequence[str] = ()):
        self._trial, self._fixed, self._member, self._shared = trial, fixed, member, shared

    def __getattr__(self, name: str) -> Any:
        suggest = getattr(self._trial, name)
        if not name.startswith("suggest_"):
            return suggest

        def ask(parameter: str, *args: Any, **options: Any) -> Any:
            fixed = self._fixed.get(parameter)
            if fixed is not None:
                return fixed
            own = self._member and parameter not in self._shared
            return suggest(f"{parameter}{MEMBER}{self._member}" if own else parameter, *args, **options)

        return ask


class SearchStudy:
    """A study that is asked with ``next`` and told with ``tell``. Trials are numbered from 0.

    ``known`` are scores by number of trials that have run before, None where they failed: they are not asked for again.
    """

    def __init__(
        self, config: Config, study: Study, fixed: Mapping[str, Any], blocks: Blocks, known: Mapping[int, float | None]
    ):
        options = config.method_options[study.method]
        self.method, self.fixed, self.blocks, self.known = study.method, dict(fixed), blocks, known
        self.together, self.shared = options.trained_together, type(options).shared
        self.trials = study.trials // self.together
        self.round_size = max(1, config.search.batch // self.together)
        sampler = TPESampler(seed=config.seed + 1000 * study.fold, n_startup_trials=max(4, self.trials // 3))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
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
            number, trial = self._asked, self._study.ask()
            options = self._define(trial)
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

    def _define(self, trial: optuna.Trial) -> dict[str, Any]:
        space = registry.search_space(self.method)
        assert space is not None
        for member in range(self.together):
            space.space(FixedOr(trial, self.fixed, member, self.shared), self.blocks)
        return {**self.fixed, **trial.params}


def specs_of(study: Study, seed: int, asked: Mapping[str, Any]) -> list[Spec]:
    """The trials of what was asked for: one, or all that are trained together."""
    common = {name: value for name, value in asked.items() if name != NUMBER and MEMBER not in name}
    members = registry.options_of(study.method, common).trained_together
    first = asked.get(NUMBER, 0) * members
    specs = []
    for k in range(members):
        own = {name.partition(MEMBER)[0]: value for name, value in asked.items() if name.endswith(f"{MEMBER}{k}")}
        trial_id = f"{study.name}-{first + k:03d}"
        specs.append(Spec(study.method, "search", trial_id, study.fold, seed, {**common, **own}, study.leakage))
    return specs


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
