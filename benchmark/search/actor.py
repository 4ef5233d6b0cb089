"""The Ray trainable: trains whatever a study asks for, one after the other, and final trials."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.train._internal.session import _TrainingResult as TrainingResult

from benchmark.common.progress import notices
from benchmark.config.schema import Config
from benchmark.frozen.task import open_task
from benchmark.plan import Study
from benchmark.search import finals
from benchmark.search.studies import asked_of, specs_of
from benchmark.trial.folds import order
from benchmark.trial.trial import Trial, failed_row, final_steps, together

PREDICTIONS = "predictions"


class SearchTrial(tune.Trainable):
    """A step is a share of the epochs, a report is the rows so far.

    Actors are reused: the next configuration finds torch imported and the task open. Trials that are trained together
    report the best of their scores. A final trial reports once that it is made, and then its row and predictions.
    """

    def setup(self, config: dict[str, Any], **fixed: Any) -> None:
        """``config`` is what a study asks for, ``fixed`` what ``tune.with_parameters`` gives to all trials."""
        self.run_config: Config = fixed["run"]
        self.studies: dict[str, Study] = fixed["studies"]
        self.dataset: str = fixed["dataset"]
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
        if (final := finals.spec_in(asked)) is not None:
            self.specs, self.trials, self.error = [final], [], ""
            self.testing = final_steps(self.run_config, final, self.dataset)
            return
        run, study = self.run_config, self.studies[asked["study"]]
        self.specs, self.trials, self.error = specs_of(study, run.seed, asked_of(asked)), [], ""
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
        return self._search() if self.specs[0].stage == "search" else self._test()

    def _test(self) -> dict[str, Any]:
        with notices(self.notices.append):
            found = next(self.testing)
        nothing = {"score": float("-inf"), "closeness": float("-inf"), "epoch": 0, "notices": self.notices}
        if found is None:
            return {**nothing, "rows": [], "losses": [], "done": False}
        row, predictions = found
        return {**nothing, "rows": [row], "losses": [None], "done": True, PREDICTIONS: predictions}

    def _search(self) -> dict[str, Any]:
        with notices(self.notices.append), self._failing():
            for _ in range(self.per_step if not self.error else 0):
                if next(self.running, None) is None:
                    break
        if self.error:
            rows = [failed_row(self.run_config, spec, self.dataset, self.error) for spec in self.specs]
            ended = {"score": float("-inf"), "closeness": float("-inf"), "epoch": 0}
            return {**ended, "rows": rows, "losses": [None] * len(rows), "notices": self.notices, "done": True}
        scores = [order(trial.best) for trial in self.trials if trial.best and not trial.diverged]
        score, closeness = max(scores, default=(float("-inf"), float("-inf")))
        return {
            "score": score,
            "closeness": closeness,
            "epoch": max(trial.epoch for trial in self.trials),
            "rows": [trial.row() for trial in self.trials],
            "losses": [trial.loss for trial in self.trials],
            "notices": self.notices,
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
