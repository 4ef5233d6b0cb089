"""The Ray trainable: prepares, trains whatever a study asks for, and tests, one after the other."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray import tune
from ray.train._internal.session import _TrainingResult as TrainingResult

from benchmark.cluster.tasks import call
from benchmark.common.progress import notices
from benchmark.config.schema import Config
from benchmark.frozen.prepare import Piece
from benchmark.frozen.task import open_task
from benchmark.plan import Study
from benchmark.search import finals
from benchmark.search.studies import asked_of, specs_of
from benchmark.trial.folds import order
from benchmark.trial.trial import Tested, Trial, failed_row, final_steps, together

PREDICTIONS, WRONG = "predictions", "wrong"
NOTHING = {"score": float("-inf"), "closeness": float("-inf"), "epoch": 0}


class SearchTrial(tune.Trainable):
    """A step is a share of the epochs, a report is the rows so far.

    Actors are reused: the next configuration finds torch imported and the task open. Trials that are trained together
    report the best of their scores. A final trial reports once that it is made, and then its row and predictions; a
    piece of the preparation, that it is done, or the error that it ended in.
    """

    def setup(self, config: dict[str, Any], **fixed: Any) -> None:
        """``config`` is what a study asks for, ``fixed`` what ``tune.with_parameters`` gives to all trials."""
        self.run_config: Config = fixed["run"]
        self.studies: dict[str, Study] = fixed["studies"]
        self.dataset: str = fixed["dataset"]
        self.pieces: dict[str, Piece] = fixed["pieces"]
        self.status: Any = fixed["status"]
        self.trials: list[Trial] = []
        self.notices: list[str] = []
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        for trial in self.trials:  # one that was stopped early is over, too
            trial.checkpoint.remove()
        self._end()
        self._start(new_config)
        return True

    def _start(self, asked: dict[str, Any]) -> None:
        self.trials, self.error = [], ""
        if (piece := asked.get("piece")) is not None:
            self.work: Callable[[], dict[str, Any]] = partial(self._prepare, self.pieces[piece])
            return
        if (final := finals.spec_in(asked)) is not None:
            self.work = partial(self._test, final_steps(self.run_config, final, self.dataset))
            return
        run, study = self.run_config, self.studies[asked["study"]]
        self.work, self.specs = self._search, specs_of(study, run.seed, asked_of(asked))
        with notices(self.notices.append), self._failing():
            task = open_task(run, study.fold)
            for spec in self.specs:
                self.trials.append(Trial(task, spec))
            alone = len(self.trials) == 1
            self.running: Iterator[Any] = self.trials[0].epochs() if alone else together(self.trials)
            self.per_step = max(1, -(-self.trials[0].n_epochs // run.search.reports))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """An error of a trial is its result: Tune tries again only what was lost with its process."""
        try:
            yield
        except Exception:
            self.error = traceback.format_exc()

    def _end(self) -> None:
        for trial in self.trials:
            trial.method.close()

    def step(self) -> dict[str, Any]:
        return {**self.work(), "notices": self.notices}

    def _prepare(self, piece: Piece) -> dict[str, Any]:
        wrong, saved = None, 0.0
        try:
            saved = call(piece.job, self.status)
        except Exception as error:
            error.add_note(traceback.format_exc())
            wrong = error
        return {**NOTHING, "rows": [{"saved": saved}], "losses": [None], "done": True, WRONG: wrong}

    def _test(self, steps: Iterator[Tested | None]) -> dict[str, Any]:
        with notices(self.notices.append):
            found = next(steps)
        if found is None:
            return {**NOTHING, "rows": [], "losses": [], "done": False}
        row, predictions = found
        return {**NOTHING, "rows": [row], "losses": [None], "done": True, PREDICTIONS: predictions}

    def _search(self) -> dict[str, Any]:
        with notices(self.notices.append), self._failing():
            for _ in range(self.per_step if not self.error else 0):
                if next(self.running, None) is None:
                    break
        if self.error:
            rows = [failed_row(self.run_config, spec, self.dataset, self.error) for spec in self.specs]
            return {**NOTHING, "rows": rows, "losses": [None] * len(rows), "done": True}
        scores = [order(trial.best) for trial in self.trials if trial.best and not trial.diverged]
        score, closeness = max(scores, default=(float("-inf"), float("-inf")))
        return {
            "score": score,
            "closeness": closeness,
            "epoch": max(trial.epoch for trial in self.trials),
            "rows": [trial.row() for trial in self.trials],
            "losses": [trial.loss for trial in self.trials],
            "done": all(trial.finished for trial in self.trials),
        }

    def cleanup(self) -> None:
        self._end()

    def save(self, checkpoint_dir: str | None = None) -> TrainingResult:
        """Nothing, which Tune asks for before an actor is used again: a trial that was lost starts again from its seed
        or its own checkpoint, which gives the same row. Tune's would write to a disk that all nodes share."""
        return TrainingResult(None, {})

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Never called; that it is there lets Tune use actors again."""
