"""What trials report on their way to the log, the board and TensorBoard."""

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from benchmark.cluster.progress import Listener
from benchmark.cluster.tasks import mishap_of
from benchmark.config.schema import Config
from benchmark.errors import Notice, RunError
from benchmark.plan import Spec
from benchmark.results.recorder import Recorder
from benchmark.search import finals
from benchmark.search.actor import PREDICTIONS, WRONG
from benchmark.search.board import PREPARED, Board
from benchmark.search.studies import asked_of, specs_of
from benchmark.search.tuning import TESTED, Ended, StudiesSearcher
from benchmark.trial.folds import merged, score_of
from benchmark.trial.trial import failed_row


class Watcher(tune.Callback):
    """Records what trials report; it belongs to the driver, and nothing of it is pickled with the experiment."""

    HEARS = 0.5  # seconds; a call of an actor

    def __init__(
        self,
        config: Config,
        searcher: StudiesSearcher,
        dataset: str,
        recorder: Recorder,
        board: Board,
        listener: Listener,
    ):
        self.config, self.searcher, self.dataset, self.recorder, self.board = config, searcher, dataset, recorder, board
        self.listener, self._heard = listener, float("-inf")
        self.studies = {one.name: one.study for one in searcher.studies}
        self._started = set[str]()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
        if not self.searcher.preparation.over and time.monotonic() - self._heard > self.HEARS:
            self.board.preparing(self.listener.read())
            self._heard = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._started.add(trial.trial_id)
        self.board.started(self._of(trial), trial.config["workers"])

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        for notice in result["notices"]:
            warnings.warn(notice, Notice, stacklevel=2)
        if trial.config.get("inner") == 0:
            for row, loss in zip(result["rows"], result["losses"], strict=True):
                if loss is not None:  # of a trial that failed there is nothing to draw
                    self.recorder.curve(row, loss)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        rows, workers = trial.last_result.get("rows", []), trial.config["workers"]
        if "piece" in trial.config:
            if (wrong := trial.last_result.pop(WRONG)) is not None:
                raise Ended(mishap_of(trial.config["piece"], wrong.__notes__[-1]) or wrong)
            self.board.preparing(self.listener.read())
            self.board.ended(PREPARED, workers=workers)
            return
        if "final" in trial.config:
            predictions = trial.last_result.pop(PREDICTIONS)  # Tune keeps what it was told of every trial
            self._record(rows[0], predictions)
            self.board.ended(TESTED, rows[0]["status"] != "done", workers=workers)
            return
        for row in rows:
            self._record(merged(self.recorder.rows.get(row["trial_id"]), row))
        scores = [score_of(row) for row in rows if row["status"] in ("done", "pruned")]
        self.board.ended(self._of(trial), not scores, max(scores, default=None), len(rows), workers)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if self.searcher.takes_up(trial.trial_id):
            if trial.trial_id in self._started:  # else its actor died while it was made ready
                self.board.lost(self._of(trial), trial.config["workers"])
            return
        file = trial.error_file
        error = Path(file).read_text() if file and Path(file).exists() else "the trial ended without a word"
        if name := trial.config.get("piece"):
            raise Ended(mishap_of(name, error) or RunError(f"{name}: {error}"))
        specs = self._specs(trial.config)
        for spec in specs:
            row = failed_row(self.config, spec, self.dataset, error)
            self._record(merged(self.recorder.rows.get(spec.trial_id), row) if spec.stage == "search" else row)
        self.board.ended(self._of(trial), failed=True, trials=len(specs), workers=trial.config["workers"])

    def _specs(self, config: Mapping[str, Any]) -> list[Spec]:
        final = finals.spec_in(config)
        return [final] if final else specs_of(self.studies[config["study"]], self.config.seed, asked_of(config))

    def _of(self, trial: Any) -> str:
        if "piece" in trial.config:
            return PREPARED
        return TESTED if "final" in trial.config else self.studies[trial.config["study"]].variant

    def _record(self, row: Mapping[str, Any], predictions: Mapping[str, Sequence[Any]] | None = None) -> None:
        try:
            self.recorder.trial(row, predictions)
        except OSError as error:
            raise Ended(error) from None
