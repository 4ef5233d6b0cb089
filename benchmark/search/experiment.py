"""What a run prepares, searches and evaluates: pieces of preparation, studies and final trials as one Ray Tune
experiment, rows recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from benchmark import registry
from benchmark.cluster.progress import Listener
from benchmark.cluster.resources import trial_bundles
from benchmark.cluster.slots import Slots
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.errors import RunError
from benchmark.frozen.prepare import pieces, prepare
from benchmark.frozen.task import open_task
from benchmark.frozen.weights import Shapes
from benchmark.method import Preselection
from benchmark.plan import Plan, Study
from benchmark.results.recorder import Recorder
from benchmark.search.actor import SearchTrial
from benchmark.search.board import Board
from benchmark.search.finals import FinalTrials
from benchmark.search.journal import Journal
from benchmark.search.preparation import Preparation, reads_last_tokens
from benchmark.search.studies import SearchStudy
from benchmark.search.tuning import StudiesSearcher, fit
from benchmark.search.watcher import Watcher

MOST_PIECES = 4  # times the slots: for the subjects of an encoder


def train(
    config: Config,
    plan: Plan,
    shapes: Shapes,
    dataset: str,
    folder: Path,
    recorder: Recorder,
    prepared: bool = False,
) -> float:
    """Train what studies have no rows for, and evaluate on test what they choose, and references; all that they read is
    prepared first, fold by fold, unless it is ``prepared``. Returns the seconds of earlier work that was found done.

    KeyboardInterrupt where the user stopped it; what was finished is recorded. RunError where no trial of any method
    was finished in the search.
    """
    fixed = _preselected(config, plan, recorder)
    studies = [
        SearchStudy(config, study, fixed[study.name], shapes, recorder.of("search", study.variant, study.fold))
        for study in plan.studies
    ]
    journal, finals = Journal(folder), FinalTrials(config, plan.finals, studies, dataset, recorder)
    slots, folds = Slots(config.cluster), finals.folds | {study.study.fold for study in studies if study.peek()}
    asked = [] if prepared else sorted(folds)
    preparation = Preparation(pieces(config, asked, reads_last_tokens(config), MOST_PIECES * slots()))
    searcher = StudiesSearcher(studies, slots, finals, journal.keep, config.search.max_failures, preparation)
    if searcher.peek():
        _run(config, searcher, dataset, folder, recorder)
    for study in studies:
        journal.keep(study)
    if not searcher.over:  # Tune ends an experiment so on SIGUSR1
        raise KeyboardInterrupt
    if lost := finals.unchosen():
        raise RunError(f"{lost[0].why}; trials.parquet has the whole errors")
    return preparation.saved


def _run(config: Config, searcher: StudiesSearcher, dataset: str, folder: Path, recorder: Recorder) -> None:
    studies = {one.name: one.study for one in searcher.studies}
    listener, preparation = Listener(), searcher.preparation
    fixed = {"run": config, "studies": studies, "dataset": dataset, "pieces": preparation.pieces}
    trainable = tune.with_resources(
        tune.with_parameters(SearchTrial, **fixed, status=listener.status),
        lambda asked: _room(config, asked["workers"]),
    )
    with Board(searcher.trainings, searcher.known, searcher.slots, len(preparation.pieces)) as board:
        watcher = Watcher(config, searcher, dataset, recorder, board, listener)
        fit(trainable, searcher, [watcher], config.search, (folder / "ray").resolve())
        if searcher.over:
            board.settle()


def _room(config: Config, workers: int) -> tune.PlacementGroupFactory:
    """What a trial asks for; Tune keeps actors of different sizes apart when it uses them again."""
    bundles = trial_bundles(config.cluster, workers)
    return tune.PlacementGroupFactory([{name.upper(): amount for name, amount in each.items()} for each in bundles])


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

    if jobs:
        prepare(config, sorted({study.fold for study in plan.studies}), reads_last_tokens(config))
    run_jobs(jobs, config.cluster, "before the search", keep)
    return found


def _preselect(config: Config, study: Study, progress: Progress) -> Preselection:
    task = open_task(config, study.fold).calibrated(study.calibration)
    task = task.development() if study.folds > 1 else task
    return registry.get(study.method).preselect(task, config.method_options[study.method], config.seed)
