"""All studies of a run as one Ray Tune experiment, and final trials as tasks; rows go to the recorder.

Studies advance together on actors that outlive trials: whatever study has something to ask for fills a free slot, those
of the first folds first, so that an actor that has a fold open finds more of it to do, and of these the ones whose
trials take several slots, so that slots do not change hands more often than need be.
"""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from benchmark import registry
from benchmark.cluster.session import trial_bundles
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.progress import Bar, Progress
from benchmark.config.schema import Config
from benchmark.errors import Notice
from benchmark.frozen.task import open_task
from benchmark.frozen.weights import Shapes
from benchmark.method import Preselection
from benchmark.plan import Plan, Spec, Study
from benchmark.results.recorder import Recorder
from benchmark.search.actor import SearchTrial
from benchmark.search.schedulers import StudyScheduler
from benchmark.search.studies import Asked, SearchStudy, asked_of, config_of, specs_of
from benchmark.trial.folds import merged, score_of
from benchmark.trial.trial import failed_row, run_final


def search(config: Config, plan: Plan, shapes: Shapes, dataset: str, folder: Path, recorder: Recorder) -> None:
    """Train what studies have no rows for.

    KeyboardInterrupt where the user stopped it; what was finished is recorded.
    """
    fixed = _preselected(config, plan, recorder)
    studies = [
        SearchStudy(config, study, fixed[study.name], shapes, recorder.of("search", study.variant, study.fold))
        for study in plan.studies
    ]
    searcher = StudiesSearcher(studies)
    if searcher.peek():
        _run(config, plan, searcher, dataset, folder, recorder)
    if not all(study.finished for study in studies):  # Tune ends an experiment so on SIGUSR1
        raise KeyboardInterrupt


def _run(
    config: Config, plan: Plan, searcher: "StudiesSearcher", dataset: str, folder: Path, recorder: Recorder
) -> None:
    store = (folder / "ray").resolve()
    shutil.rmtree(store, ignore_errors=True)
    studies = {study.name: study for study in plan.studies}
    trainable = tune.with_resources(
        tune.with_parameters(SearchTrial, run=config, studies=studies, dataset=dataset),
        lambda asked: _room(config, studies[asked["study"]]),
    )
    try:
        with Bar(sum(study.trainings for study in plan.studies), "search", searcher.known) as bar:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    num_samples=-1,  # until the searcher has nothing more to ask for
                    search_alg=searcher,
                    scheduler=StudyScheduler(config.search),
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="search",
                    storage_path=str(store),
                    verbose=0,
                    callbacks=[Watcher(config, studies, dataset, recorder, bar)],
                    failure_config=tune.FailureConfig(max_failures=config.search.max_failures),
                ),
            ).fit()
            if all(study.finished for study in searcher.studies):
                bar.total = bar.done  # what failed was sent to no further fold
    finally:  # rows are recorded; nothing is read back from Ray's own files
        shutil.rmtree(store / "search", ignore_errors=True)


def _room(config: Config, study: Study) -> tune.PlacementGroupFactory:
    """What a trial of a study asks for; Tune keeps actors of different sizes apart when it uses them again."""
    bundles = trial_bundles(config.cluster, study.workers)
    return tune.PlacementGroupFactory([{name.upper(): amount for name, amount in each.items()} for each in bundles])


def evaluate(config: Config, specs: Sequence[Spec], dataset: str, recorder: Recorder) -> None:
    """Run the final trials that are not done yet."""
    done = {name for name, row in recorder.rows.items() if row["stage"] == "final" and row["status"] != "failed"}
    jobs = [
        Job(spec.trial_id, _run_final, (config, spec, dataset), config.method_options[spec.method].processes)
        for spec in specs
        if spec.trial_id not in done
    ]

    def keep(job: Job, found: tuple[dict[str, Any], dict[str, list[Any]]]) -> None:
        recorder.trial(*found)

    def failed(job: Job, error: str) -> None:
        recorder.trial(failed_row(config, job.arguments[1], dataset, error))

    run_jobs(jobs, config.cluster, "evaluate on test", keep, failed, retries=3)


def _run_final(
    config: Config, spec: Spec, dataset: str, progress: Progress
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    return run_final(config, spec, dataset)


# -- what methods fix before they are searched ------------------------------------------------------------------------


def _preselected(config: Config, plan: Plan, recorder: Recorder) -> dict[str, Mapping[str, Any]]:
    """Options that are fixed in each study: the user's, and those that a method takes from features before its search,
    which only workers have open."""
    found: dict[str, Mapping[str, Any]] = {}
    jobs = []
    for study in plan.studies:
        options = config.method_options[study.method]
        found[study.name] = {name: value for name, value in options.model_dump().items() if value is not None}
        if registry.get(study.method).preselects(options):
            jobs.append(Job(study.name, _preselect, (config, study)))

    def keep(job: Job, preselection: Preselection) -> None:
        found[job.name] = {**found[job.name], **preselection.options}
        for name, rows in preselection.tables.items():
            recorder.table(name, rows)

    run_jobs(jobs, config.cluster, "before the search", keep)
    return found


def _preselect(config: Config, study: Study, progress: Progress) -> Preselection:
    task = open_task(config, study.fold).calibrated(study.calibration)
    task = task.development() if study.folds > 1 else task
    return registry.get(study.method).preselect(task, config.method_options[study.method], config.seed)


# -- all studies behind the interfaces of Tune ------------------------------------------------------------------------


class StudiesSearcher(Searcher):
    """Routes what Tune asks to a run's studies, and what trials found back to theirs. Nothing of it is pickled with the
    experiment."""

    def __init__(self, studies: Sequence[SearchStudy]):
        super().__init__(metric="score", mode="max")
        self.studies = studies
        self.running: dict[str, tuple[SearchStudy, Asked]] = {}
        self._next: tuple[SearchStudy, Asked] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as ``save``: studies hold encoders, which belong to the driver and do not all pickle."""
        return {}

    @property
    def known(self) -> int:
        """Trials that were trained before and need not be asked for."""
        return sum(study.known * study.together for study in self.studies)

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
        found, self._next = self._next or self._ask(), None
        if found is None:
            return Searcher.FINISHED if all(study.finished for study in self.studies) else None
        self.running[trial_id] = found
        study, asked = found
        return config_of(study.study, asked)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        study, asked = self.running.pop(trial_id)
        if error or not result:
            study.fail(asked)
        else:
            study.tell(asked.number, asked.inner, result["rows"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a study is built again from the rows of its trials."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study is built again from the rows of its trials")


class Watcher(tune.Callback):
    """Records what trials report; it belongs to the driver, and nothing of it is pickled with the experiment."""

    def __init__(self, config: Config, studies: Mapping[str, Study], dataset: str, recorder: Recorder, bar: Bar):
        self.config, self.studies, self.dataset, self.recorder, self.bar = config, studies, dataset, recorder, bar
        self.best: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

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
            if row["status"] in ("done", "pruned"):
                self.best[row["method"]] = max(self.best.get(row["method"], 0.0), score_of(row))
        self.bar.update(len(rows), "best " + ", ".join(f"{name} {best:.3f}" for name, best in self.best.items()))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        file = trial.error_file
        error = Path(file).read_text() if file and Path(file).exists() else "the trial ended without a word"
        for spec in specs_of(self.studies[trial.config["study"]], self.config.seed, asked_of(trial.config)):
            self._record(failed_row(self.config, spec, self.dataset, error))
            self.bar.update()

    def _record(self, row: Mapping[str, Any]) -> None:
        self.recorder.trial(merged(self.recorder.rows.get(row["trial_id"]), row))
