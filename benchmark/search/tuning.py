"""All studies of a run behind the interfaces of Ray Tune.

Studies advance together on actors that outlive trials: whatever study has something to ask for fills a free slot, those
of the first folds first, so that an actor that has a fold open finds more of it to do, of as many folds as fill all
slots; and of these the ones whose trials take several, so that slots do not change hands more often than need be. What
folds have yet to prepare comes before their trials, and fills slots that those of earlier folds leave free. Final
trials come where nothing else has anything to ask for, which may be before the search of other folds is over.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher

from benchmark.config.schema import SearchOptions
from benchmark.search.finals import FinalTrials
from benchmark.search.item import Item
from benchmark.search.preparation import Preparation
from benchmark.search.schedulers import StudyScheduler
from benchmark.search.studies import Asked, SearchStudy, config_of

TESTED = "on test"
"""What the board calls final trials."""


def fit(
    trainable: Any, searcher: "StudiesSearcher", callbacks: list[tune.Callback], options: SearchOptions, store: Path
) -> None:
    """Train what the searcher asks for until there is nothing more; ``store`` is for Ray's own files meanwhile.

    OSError where a row could not be written; what a piece of the preparation ended in.
    """
    shutil.rmtree(store, ignore_errors=True)
    try:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                num_samples=-1,  # until the searcher has nothing more to ask for
                search_alg=searcher,
                scheduler=StudyScheduler(options, keeps=searcher.alike),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search", storage_path=str(store), verbose=0, callbacks=[*callbacks, Forgets()]
            ),
        ).fit()
    except Ended as stop:
        raise stop.error from None
    finally:  # rows are recorded; nothing is read back from Ray's own files
        shutil.rmtree(store, ignore_errors=True)


class StudiesSearcher(Searcher):
    """Routes what Tune asks to a run's studies, and what trials found back to theirs. Nothing of it is pickled with the
    experiment.

    Final trials fill the slots that studies leave free. There are never more trials than ``slots``, what there is room
    for now, and one that waits, which takes as many as one that runs where none is free. What was lost with its process
    or node is asked for again, ``retries`` times. (Tune's own ``max_failures`` tries again only what was running: where
    an actor dies while it is made ready for a trial, the trial has failed.)
    """

    def __init__(
        self,
        studies: Sequence[SearchStudy],
        slots: Callable[[], int],
        finals: FinalTrials | None = None,
        keep: Callable[[SearchStudy], None] = lambda study: None,
        retries: int = 0,
        preparation: Preparation | None = None,
    ):
        super().__init__(metric="score", mode="max")
        self.studies, self.slots, self.finals, self.keep, self.retries = studies, slots, finals, keep, retries
        self.preparation = preparation or Preparation()
        self.running: dict[str, Item] = {}
        self._losses = Counter[str]()
        self._taken_up = set[str]()
        self._next: Item | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as ``save``: studies hold encoders, which belong to the driver and do not all pickle."""
        return {}

    @property
    def alike(self) -> bool:
        """Whether all trials ask for the same of a node."""
        workers = {study.study.workers for study in self.studies} | (self.finals.workers if self.finals else set())
        return len(workers | {piece.job.workers for piece in self.preparation.pieces.values()}) == 1

    @property
    def trainings(self) -> dict[str, int]:
        """Of each method, all that may be asked for; of final trials, too."""
        return {**self._by_method(lambda study: study.study.trainings), TESTED: self.finals.total if self.finals else 0}

    @property
    def known(self) -> dict[str, int]:
        """Of each method, what was trained before and need not be asked for; of final trials, too."""
        known = self._by_method(lambda study: study.known * study.together)
        return {**known, TESTED: self.finals.known if self.finals else 0}

    def _by_method(self, amount: Callable[[SearchStudy], int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for study in self.studies:
            found[study.study.variant] = found.get(study.study.variant, 0) + amount(study)
        return found

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask for."""
        studies = all(study.finished for study in self.studies)
        return studies and self.preparation.finished and (self.finals is None or self.finals.finished)

    @property
    def over(self) -> bool:
        """Whether all that was asked for has ended, too."""
        return self.finished and not self.running

    def peek(self) -> bool:
        """Whether there is anything to ask for, before Tune is started for it."""
        self._next = self._next or self._ask()
        return self._next is not None

    def _ask(self) -> Item | None:
        going_on = [study for study in self.studies if not study.finished]
        for folds in self._groups():
            if piece := next(filter(None, map(self.preparation.next, folds)), None):
                return piece
            ready = [*filter(self.preparation.ready, folds)]
            mine = [study for study in going_on if study.study.fold in ready]
            for study in sorted(mine, key=lambda one: (-one.study.workers, one.asked / one.study.trainings)):
                if asked := study.next():
                    return self._training(study, asked)
        return self.finals.next(self.preparation.ready) if self.finals else None

    def _groups(self) -> list[list[int]]:
        """The folds in order, those together whose studies advance alike: as few as fill all slots twice, so that the
        last ones are not left with more slots than their rounds fill."""
        folds = sorted({study.study.fold for study in self.studies}.union(self.preparation.folds))
        wide_enough = sum(study.width for study in self.studies) // max(1, 2 * self.slots())
        return [group.tolist() for group in np.array_split(folds, max(1, min(len(folds), wide_enough)))]

    def _training(self, study: SearchStudy, asked: Asked) -> Item:
        def tell(rows: Sequence[Mapping[str, Any]]) -> None:
            study.tell(asked.number, asked.inner, rows)
            self.keep(study)

        def fail() -> None:
            study.fail(asked)
            self.keep(study)

        name = f"{study.name}-{asked.number}, inner fold {asked.inner}"
        return Item(name, config_of(study.study, asked), tell, fail, lambda: study.again(asked))

    def suggest(self, trial_id: str) -> Any:
        if len(self.running) > self.slots():  # all that run, and one that Tune has ready
            return None
        found, self._next = self._next or self._ask(), None
        if found is None:  # what runs may be lost, and is then asked for again
            return Searcher.FINISHED if self.over else None
        taken = [one.workers for one in self.running.values()]
        if taken and sum(taken) >= self.slots() and found.workers not in taken:
            found.again()  # while it waited for room, Tune would end the actor of each trial of another size
            return None
        self.running[trial_id] = found
        return found.config

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        item = self.running.pop(trial_id)
        if result and not error:
            item.tell(result["rows"])
            return
        self._losses[item.name] += 1
        if self._losses[item.name] > self.retries:
            item.fail()
        else:
            item.again()
            self._taken_up.add(trial_id)

    def takes_up(self, trial_id: str) -> bool:
        """Whether what a trial that ended in an error was to train is asked for again."""
        return trial_id in self._taken_up

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study is built again from the rows of its trials."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is built again from the rows of its trials")


class Forgets(tune.Callback):
    """Of every trial that is over Tune keeps what it said last, and statistics of it; rows are in the log by then. A
    run's memory would grow by that with its trials. To stand behind what reads it."""

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        about = trial.run_metadata
        about.last_result = {key: value for key, value in about.last_result.items() if key not in ("rows", "losses")}
        about.metric_analysis, about.metric_n_steps = {}, {}


class Ended(BaseException):
    """The run cannot go on. An ``Exception`` Tune takes for its trial's, which it tries again."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error
