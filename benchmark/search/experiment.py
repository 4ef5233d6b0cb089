"""What a run searches and evaluates: all studies as one Ray Tune experiment, final trials as tasks, rows recorded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from benchmark import registry
from benchmark.cluster.resources import trial_bundles
from benchmark.cluster.slots import Slots
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.frozen.task import open_task
from benchmark.frozen.weights import Shapes
from benchmark.method import Preselection
from benchmark.plan import Plan, Spec, Study
from benchmark.results.recorder import Recorder
from benchmark.search.actor import SearchTrial
from benchmark.search.board import Board
from benchmark.search.journal import Journal
from benchmark.search.studies import SearchStudy
from benchmark.search.tuning import StudiesSearcher, Watcher, fit
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
    journal = Journal(folder)
    searcher = StudiesSearcher(studies, Slots(config.cluster), journal.keep, config.search.max_failures)
    if searcher.peek():
        _run(config, plan, searcher, dataset, folder, recorder)
    for study in studies:
        journal.keep(study)
    if not all(study.finished for study in studies):  # Tune ends an experiment so on SIGUSR1
        raise KeyboardInterrupt


def _run(config: Config, plan: Plan, searcher: StudiesSearcher, dataset: str, folder: Path, recorder: Recorder) -> None:
    studies = {study.name: study for study in plan.studies}
    trainable = tune.with_resources(
        tune.with_parameters(SearchTrial, run=config, studies=studies, dataset=dataset),
        lambda asked: _room(config, studies[asked["study"]]),
    )
    with Board(searcher.trainings, searcher.known, searcher.slots) as board:
        watcher = Watcher(config, searcher, dataset, recorder, board)
        fit(trainable, searcher, [watcher], config.search, (folder / "ray").resolve())
        if all(study.finished for study in searcher.studies):
            board.settle()


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

    run_jobs(jobs, config.cluster, "evaluate on test", keep, failed)


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
