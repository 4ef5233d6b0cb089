"""All studies of a run behind the interfaces of Ray Tune.

Studies advance together on actors that outlive trials: whatever study has something to ask for fills a free slot, those
of the first folds first, so that an actor that has a fold open finds more of it to do, and of these the ones whose
trials take several slots, so that slots do not change hands more often than need be.
"""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from benchmark.config.schema import Config, SearchOptions
from benchmark.errors import Notice
from benchmark.results.recorder import Recorder
from benchmark.search.board import Board
from benchmark.search.schedulers import StudyScheduler
from benchmark.search.studies import Asked, SearchStudy, asked_of, config_of, specs_of
from benchmark.trial.folds import merged, score_of
from benchmark.trial.trial import failed_row


def fit(
    trainable: Any, searcher: "StudiesSearcher", callbacks: list[tune.Callback], options: SearchOptions, store: Path
) -> None:
    """Train what the searcher asks for until there is nothing more; ``store`` is for Ray's own files meanwhile.

    OSError where a row could not be written.
    """
    shutil.rmtree(store, ignore_errors=True)
    try:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                num_samples=-1,  # until the searcher has nothing more to ask for
                search_alg=searcher,
                scheduler=StudyScheduler(options, keeps=len({one.study.workers for one in searcher.studies}) == 1),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(store),
                verbose=0,
                callbacks=callbacks,
            ),
        ).fit()
    except _Unwritten as stop:
        raise stop.error from None
    finally:  # rows are recorded; nothing is read back from Ray's own files
        shutil.rmtree(store, ignore_errors=True)


class StudiesSearcher(Searcher):
    """Routes what Tune asks to a run's studies, and what trials found back to theirs. Nothing of it is pickled with the
    experiment.

    There are never more trials than ``slots``, what there is room for now, and one that waits. What was lost with its
    process or node is asked for again, ``retries`` times. (Tune's own ``max_failures`` tries
    again only what was running: where an actor dies while it is made ready for a trial, the trial has failed.)
    """

    def __init__(
        self,
        studies: Sequence[SearchStudy],
        slots: Callable[[], int],
        keep: Callable[[SearchStudy], None] = lambda study: None,
        retries: int = 0,
    ):
        super().__init__(metric="score", mode="max")
        self.studies, self.slots, self.keep, self.retries = studies, slots, keep, retries
        self.running: dict[str, tuple[SearchStudy, Asked]] = {}
        self._losses = Counter[tuple[str, int, int]]()
        self._taken_up = set[str]()
        self._next: tuple[SearchStudy, Asked] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as ``save``: studies hold encoders, which belong to the driver and do not all pickle."""
        return {}

    @property
    def trainings(self) -> dict[str, int]:
        """Of each method, all that may be asked for."""
        return self._by_method(lambda study: study.study.trainings)

    @property
    def known(self) -> dict[str, int]:
        """Of each method, what was trained before and need not be asked for."""
        return self._by_method(lambda study: study.known * study.together)

    def _by_method(self, amount: Callable[[SearchStudy], int]) -> dict[str, int]:
        found: dict[str, int] = {}
        for study in self.studies:
            found[study.study.variant] = found.get(study.study.variant, 0) + amount(study)
        return found

    def peek(self) -> bool:
        """Whether there is anything to ask for, before Tune is started for it."""
        self._next = self._next or self._ask()
        return self._next is not None

    def _ask(self) -> tuple[SearchStudy, Asked] | None:
        going_on = (study for study in self.studies if not study.finished)
        for study in sorted(
            going_on, key=lambda one: (one.study.fold, -one.study.workers, one.asked / one.study.trainings)
        ):
            if asked := study.next():
                return study, asked
        return None

    def suggest(self, trial_id: str) -> Any:
        if len(self.running) > self.slots():  # all that run, and one that Tune has ready
            return None
        found, self._next = self._next or self._ask(), None
        if found is None:  # what runs may be lost, and is then asked for again
            done = not self.running and all(study.finished for study in self.studies)
            return Searcher.FINISHED if done else None
        self.running[trial_id] = found
        study, asked = found
        return config_of(study.study, asked)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        study, asked = self.running.pop(trial_id)
        if result and not error:
            study.tell(asked.number, asked.inner, result["rows"])
        elif self._lost_too_often(study, asked):
            study.fail(asked)
        else:
            study.again(asked)
            self._taken_up.add(trial_id)
        self.keep(study)

    def _lost_too_often(self, study: SearchStudy, asked: Asked) -> bool:
        job = study.name, asked.number, asked.inner
        self._losses[job] += 1
        return self._losses[job] > self.retries

    def takes_up(self, trial_id: str) -> bool:
        """Whether what a trial that ended in an error was to train is asked for again."""
        return trial_id in self._taken_up

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study is built again from the rows of its trials."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is built again from the rows of its trials")


class Watcher(tune.Callback):
    """Records what trials report; it belongs to the driver, and nothing of it is pickled with the experiment."""

    def __init__(self, config: Config, searcher: StudiesSearcher, dataset: str, recorder: Recorder, board: Board):
        self.config, self.searcher, self.dataset, self.recorder, self.board = config, searcher, dataset, recorder, board
        self.studies = {one.name: one.study for one in searcher.studies}
        self._started = set[str]()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._started.add(trial.trial_id)
        self.board.started(self._of(trial))

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        for notice in result["notices"]:
            warnings.warn(notice, Notice, stacklevel=2)
        if asked_of(trial.config).inner == 0:
            for row, loss in zip(result["rows"], result["losses"], strict=True):
                if loss is not None:  # of a trial that failed there is nothing to draw
                    self.recorder.curve(row, loss)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        rows = trial.last_result.get("rows", [])
        for row in rows:
            self._record(row)
        scores = [score_of(row) for row in rows if row["status"] in ("done", "pruned")]
        self.board.ended(self._of(trial), not scores, max(scores, default=None), len(rows))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if self.searcher.takes_up(trial.trial_id):
            if trial.trial_id in self._started:  # else its actor died while it was made ready
                self.board.lost(self._of(trial))
            return
        file = trial.error_file
        error = Path(file).read_text() if file and Path(file).exists() else "the trial ended without a word"
        for spec in specs_of(self.studies[trial.config["study"]], self.config.seed, asked_of(trial.config)):
            self._record(failed_row(self.config, spec, self.dataset, error))
        self.board.ended(self._of(trial), failed=True, trials=self.studies[trial.config["study"]].together)

    def _of(self, trial: Any) -> str:
        return self.studies[trial.config["study"]].variant

    def _record(self, row: Mapping[str, Any]) -> None:
        try:
            self.recorder.trial(merged(self.recorder.rows.get(row["trial_id"]), row))
        except OSError as error:
            raise _Unwritten(error) from None


class _Unwritten(BaseException):
    """A row could not be written: the run ends. An ``Exception`` Tune takes for its trial's, which it tries again."""

    def __init__(self, error: OSError):
        super().__init__(str(error))
        self.error = error
