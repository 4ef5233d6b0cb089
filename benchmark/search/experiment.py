"""Ray Tune runs studies on actors that outlive trials, and final trials as tasks; rows go to the recorder."""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from benchmark import registry
from benchmark.cluster.session import trial_resources
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.progress import Bar, Progress, notices
from benchmark.config.schema import Config
from benchmark.errors import Notice
from benchmark.frozen.task import open_task
from benchmark.frozen.weights import Shapes
from benchmark.method import Preselection
from benchmark.plan import Plan, Spec, Study
from benchmark.results.recorder import Recorder
from benchmark.search.studies import NUMBER, SearchStudy, known_scores, score_together, specs_of
from benchmark.trial.trial import Trial, failed_row, order, run_final, together


def search(config: Config, plan: Plan, shapes: Shapes, dataset: str, folder: Path, recorder: Recorder) -> None:
    """Run what studies have no rows for. KeyboardInterrupt where the user stopped it; what was finished is recorded."""
    for study in plan.studies:
        _run_study(config, study, shapes, dataset, folder, recorder)
        if len(recorder.of("search", study.method, study.fold)) < study.trials:  # Tune ends a study so on SIGUSR1
            raise KeyboardInterrupt


def evaluate(config: Config, specs: Sequence[Spec], dataset: str, recorder: Recorder) -> None:
    """Run the final trials that are not done yet."""
    done = {name for name, row in recorder.rows.items() if row["stage"] == "final" and row["status"] != "failed"}
    jobs = [Job(spec.trial_id, _run_final, (config, spec, dataset)) for spec in specs if spec.trial_id not in done]

    def keep(job: Job, found: tuple[dict[str, Any], dict[str, list[Any]]]) -> None:
        recorder.trial(*found)

    def failed(job: Job, error: str) -> None:
        recorder.trial(failed_row(config, job.arguments[1], dataset, error))

    run_jobs(jobs, config.cluster, "evaluate on test", keep, failed, retries=3)


def _run_final(
    config: Config, spec: Spec, dataset: str, progress: Progress
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    return run_final(config, spec, dataset)


# -- one study on Ray Tune --------------------------------------------------------------------------------------------


def _run_study(config: Config, study: Study, shapes: Shapes, dataset: str, folder: Path, recorder: Recorder) -> None:
    options = config.method_options[study.method]
    members = options.trained_together
    rows = recorder.of("search", study.method, study.fold)
    known = known_scores(rows, members, max(1, config.search.batch // members))
    if len(known) * members == study.trials:
        return
    fixed = {name: value for name, value in options.model_dump().items() if value is not None}
    asked = SearchStudy(config, study, {**fixed, **_preselected(config, study, recorder)}, shapes, known)
    store = (folder / "ray").resolve()
    shutil.rmtree(store, ignore_errors=True)
    trainable = tune.with_resources(
        tune.with_parameters(SearchTrial, run=config, study=study), trial_resources(config.cluster)
    )
    try:
        with Bar(study.trials, f"search {study.method}, fold {study.fold}", len(known) * members) as bar:
            watcher = Watcher(config, study, dataset, recorder, bar)
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    num_samples=asked.trials - len(known),
                    search_alg=StudySearcher(asked),
                    scheduler=_scheduler(config),
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=study.name,
                    storage_path=str(store),
                    verbose=0,
                    callbacks=[watcher],
                    failure_config=tune.FailureConfig(max_failures=config.search.max_failures),
                ),
            ).fit()
    finally:  # rows are recorded; nothing is read back from Ray's own files
        shutil.rmtree(store / study.name, ignore_errors=True)


def _preselected(config: Config, study: Study, recorder: Recorder) -> Mapping[str, Any]:
    """Options that the method fixes before its search, from features that only workers have open."""
    options = config.method_options[study.method]
    if not registry.get(study.method).preselects(options):
        return {}
    found: list[Preselection] = []
    job = Job(f"positions of fold {study.fold}", _preselect, (config, study))
    run_jobs([job], config.cluster, f"before {study.name}", lambda _, preselection: found.append(preselection))
    for name, rows in found[0].tables.items():
        recorder.table(name, rows)
    return found[0].options


def _preselect(config: Config, study: Study, progress: Progress) -> Preselection:
    task = open_task(config, study.fold)
    return registry.get(study.method).preselect(task, config.method_options[study.method], config.seed)


def _scheduler(config: Config) -> TrialScheduler:
    """What stops poor trials early: nothing, ASHA (Li et al., 2020) or the median rule (Golovin et al., 2017)."""
    name, reports = config.search.scheduler, config.search.reports
    if name == "asha":
        return ASHAScheduler(metric="score", mode="max", max_t=reports, grace_period=1, reduction_factor=2)
    if name == "median":
        return MedianStoppingRule(metric="score", mode="max", grace_period=1, min_samples_required=3)
    return FIFOScheduler()


class StudySearcher(Searcher):
    """A ``SearchStudy`` behind the interface that Tune asks; nothing of it is pickled with the experiment."""

    def __init__(self, study: SearchStudy):
        super().__init__(metric="score", mode="max")
        self.study = study
        self.numbers: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as ``save``: the study holds encoders, which belong to the driver and do not all pickle."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        asked = self.study.next()
        if asked is None:
            return Searcher.FINISHED if self.study.finished else None
        self.numbers[trial_id] = asked[NUMBER]
        return asked

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        score = None if error or not result else score_together(result["rows"])
        self.study.tell(self.numbers.pop(trial_id), score)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study is built again from the rows of its trials."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is built again from the rows of its trials")


class Watcher(tune.Callback):
    """Records what trials report; it belongs to the driver, and nothing of it is pickled with the experiment."""

    def __init__(self, config: Config, study: Study, dataset: str, recorder: Recorder, bar: Bar):
        self.config, self.study, self.dataset, self.recorder, self.bar = config, study, dataset, recorder, bar
        self.best = float("-inf")

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        for notice in result["notices"]:
            warnings.warn(notice, Notice, stacklevel=2)
        for row, loss in zip(result["rows"], result["losses"], strict=True):
            self.recorder.curve(row, loss)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        rows = trial.last_result.get("rows", [])
        for row in rows:
            self.recorder.trial(row)
            self.best = max(self.best, score_together([row]) or self.best)
        self.bar.update(len(rows), f"best agreement {self.best:.3f}")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        file = trial.error_file
        error = Path(file).read_text() if file and Path(file).exists() else "the trial ended without a word"
        for spec in specs_of(self.study, self.config.seed, trial.config):
            self.recorder.trial(failed_row(self.config, spec, self.dataset, error))
            self.bar.update()


class SearchTrial(tune.Trainable):
    """The Ray trainable: a step is a share of the epochs, a report is the rows so far.

    Actors are reused: the next configuration finds torch imported and the task open. Trials that are trained together
    report the best of their scores.
    """

    def setup(self, config: dict[str, Any], **fixed: Any) -> None:
        """``config`` is what the study asks for, ``fixed`` what ``tune.with_parameters`` gives to all trials."""
        self.run_config: Config = fixed["run"]
        self.study: Study = fixed["study"]
        self.trials: list[Trial] = []
        self.notices: list[str] = []
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end()
        self._start(new_config)
        return True

    def _start(self, asked: dict[str, Any]) -> None:
        run = self.run_config
        with notices(self.notices.append):
            task = open_task(run, self.study.fold)
            self.trials = [Trial(task, spec) for spec in specs_of(self.study, run.seed, asked)]
        alone = len(self.trials) == 1
        self.running: Iterator[Any] = self.trials[0].epochs() if alone else together(self.trials)
        self.per_step = max(1, -(-self.trials[0].method.n_epochs // run.search.reports))

    def _end(self) -> None:
        for trial in self.trials:
            trial.method.close()

    def step(self) -> dict[str, Any]:
        with notices(self.notices.append):
            for _ in range(self.per_step):
                if next(self.running, None) is None:
                    break
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

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: an interrupted trial is short and starts again from its seed, which gives the same row."""
