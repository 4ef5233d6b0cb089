"""What make utilisation measures is measured: a few trials that wait, and a sweep of tiny ones."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from ray import tune

from benchmark.cluster.session import session
from benchmark.cluster.slots import Slots
from benchmark.config.cluster import LocalCluster
from benchmark.perf import utilisation, waiting
from benchmark.perf.utilisation import WORDS, Book, main, measure
from benchmark.perf.waiting import WaitingTrial, fraction, length
from benchmark.registry import configure
from benchmark.search.schedulers import StudyScheduler
from benchmark.search.tuning import StudiesSearcher, fit


def test_lengths_are_seeded_and_between_the_bounds() -> None:
    lengths = [length("bridge-fold0", k) for k in range(200)]
    assert lengths == [length("bridge-fold0", k) for k in range(200)]
    assert min(lengths) >= waiting.SHORTEST
    assert max(lengths) <= waiting.LONGEST
    assert max(lengths) - min(lengths) > 1.8
    assert 0.4 < sum(fraction(k) for k in range(500)) / 500 < 0.6


@pytest.mark.timeout(300)
def test_the_page_has_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(utilisation, "sweep", partial(utilisation.sweep, 24, 2, 4))
    assert (
        main(["--slots", "1", "2", "--trials", "2", "--scale", "0.02", "--starting", "0", "--out", str(tmp_path)]) == 0
    )
    page = (tmp_path / "utilisation.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| together")]
    assert len(rows) == 2
    assert [row.split("|")[3].strip() for row in rows] == ["20", "20"]
    assert len({row.split("|")[-2] for row in rows}) == 1  # the same configurations on one and on two slots
    (swept,) = [line for line in page.splitlines() if line.startswith("| 24 | 24 |")]
    assert float(swept.split("|")[5]) < 1.0  # rows are on disk within a second
    assert page in capsys.readouterr().out
    assert "`python -m benchmark.perf.utilisation --slots 1 2 --trials 2 --scale 0.02 --starting 0.0`" in page


@pytest.mark.timeout(300)
def test_one_slot_never_holds_two_trials() -> None:
    found = measure("together", slots=1, amount=2, trials=3, scale=0.02, starting=0.0)
    assert found["trials"] == 6
    assert found["busy"] <= 1.0
    assert found["actors"] == 1


@pytest.mark.timeout(300)
def test_actors_that_take_long_to_start_are_kept_beside_trials_that_do_not() -> None:
    """Tune gives a trial whose actor is still starting to one that is free, and drops the actor that starts."""
    found = measure("together", slots=2, amount=4, trials=20, scale=0.1, starting=3.0)
    assert found["trials"] == 80
    assert found["actors"] == 2
    assert found["busy"] > 0.5


@pytest.mark.timeout(300)
def test_trials_that_take_both_slots_share_an_actor_beside_a_study_of_small_ones(tmp_path: Path) -> None:
    config, book = configure(WORDS), Book()
    small, large = utilisation.studies(config, 2, 8)
    large.study = replace(large.study, fold=0, workers=2)
    (starts := tmp_path / "starts").mkdir()
    with session(LocalCluster(cpus=2, cpus_per_trial=1)):
        trainable = tune.with_resources(
            tune.with_parameters(WaitingTrial, scale=0.02, starts=str(starts)),
            lambda asked: tune.PlacementGroupFactory([{"CPU": 1}] * asked["workers"]),
        )
        searcher = StudiesSearcher([small, large], Slots(config.cluster))
        fit(trainable, searcher, [book], config.search, tmp_path / "ray")
    assert len(book.ended) == 16
    assert len([*starts.iterdir()]) <= 4  # one for the large ones, two for the others; and one that is late


class Kept(tune.Callback):
    """Trials, as Tune has them."""

    def __init__(self) -> None:
        self.trials: list = []

    def __getstate__(self) -> dict:
        return {}

    def on_step_end(self, iteration: int, trials: list, **info: object) -> None:
        self.trials[:] = trials


@pytest.mark.timeout(300)
def test_of_a_trial_that_is_over_tune_keeps_no_rows(tmp_path: Path) -> None:
    config, book, kept = configure(WORDS), Book(), Kept()
    with session(LocalCluster(cpus=1, cpus_per_trial=1)):
        trainable = tune.with_parameters(WaitingTrial, scale=0.02, starts=str(tmp_path))
        searcher = StudiesSearcher(utilisation.studies(config, 1, 4), Slots(config.cluster))
        fit(trainable, searcher, [book, kept], config.search, tmp_path / "ray")
    assert len(kept.trials) == len(book.ended) == 4
    for trial in kept.trials:
        assert "rows" not in trial.last_result
        assert trial.run_metadata.metric_analysis == trial.run_metadata.metric_n_steps == {}


class Waits:
    """What a scheduler reads of a trial that waits."""

    PENDING = status = "PENDING"
    placement_group_factory = "one core"
    config: ClassVar = {"piece": "weights"}


def test_an_actor_that_is_being_started_is_not_dropped_for_one_that_is_free() -> None:
    """Where fewer trials wait than actors start, Tune takes any that asks for the same of a node."""
    trials = [Waits() for _ in range(3)]
    tune = SimpleNamespace(
        _trial_to_actor={trials[0]: "being started", trials[1]: "asked for"},
        _actor_manager=SimpleNamespace(is_actor_started=lambda actor: actor == "being started"),
        _resources_to_pending_trials={"one core": {*trials}},
        _actor_cache=SimpleNamespace(increase_max=lambda factory: None),
    )
    controller, scheduler = SimpleNamespace(_tune_controller=tune), StudyScheduler(configure([]).search)
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    assert scheduler.choose_trial_to_run(controller) is trials[1]
    assert tune._resources_to_pending_trials["one core"] == {*trials[1:]}
