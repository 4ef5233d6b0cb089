"""Studies: what they ask for depends on the seed and on whole rounds, and on nothing else; what their rows choose."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import cloudpickle
import optuna
import pytest

from analysis.paper import MODELS
from benchmark.bridge.network import count_parameters
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry as encoders
from benchmark.errors import InputError, RunError
from benchmark.frozen.weights import Shapes
from benchmark.method import student_parameters
from benchmark.plan import Study
from benchmark.registry import configure
from benchmark.results.log import RowLog
from benchmark.search.choice import best_of
from benchmark.search.experiment import StudySearcher
from benchmark.search.samplers import sampler_of
from benchmark.search.space import FixedOr
from benchmark.search.studies import SearchStudy, known_scores, specs_of
from search_spaces.bridge import PAPER, space

SHAPES = Shapes(
    encoders.build("hubert_ecg", SignalSpec("ecg", ("ECG",), 100.0, 1000, "z"), device="meta"),
    encoders.build("papagei", SignalSpec("ppg", ("BVP",), 125.0, 1250, "z"), device="meta"),
    n_classes=3,
)
STUDY = Study("bridge", 0, 12)


def study(
    known: dict[int, float | None] | None = None, words: Sequence[str] = (), trials: int = STUDY.trials
) -> SearchStudy:
    config = configure(words)
    fixed = {name: value for name, value in config.method_options["bridge"].model_dump().items() if value is not None}
    return SearchStudy(config, replace(STUDY, trials=trials), fixed, SHAPES, known or {})


@pytest.mark.parametrize("sampler", ["tpe", "multivariate_tpe", "random", "grid", "nsga2", "cmaes"])
def test_every_sampler_asks_by_seed_and_rounds_alone(sampler):
    words = (f"search.sampler={sampler}",)
    alone = run(study(words=words), 1)
    assert len({json.dumps(options) for options in alone}) == 12
    assert sorted(run(study(words=words), 4, seed=1), key=lambda options: options["number"]) == alone


def test_samplers_differ_and_learn():
    asked = {name: run(study(words=(f"search.sampler={name}",), trials=60), 4) for name in ("random", "tpe")}
    late = {name: sum(map(score, options[30:])) for name, options in asked.items()}
    assert late["tpe"] > late["random"]


def test_the_grid_is_made_of_published_values_where_the_space_has_them():
    space = {"rank": [2, 4, 8], "learning_rate": [3e-4, 1e-2], "output": [0, 1, "head"], "c": [1e-4, 1.0]}
    sampler = sampler_of("grid", 0, 12, space, [*PAPER.values()])
    values = {"rank": [4, 8], "learning_rate": [3e-4, 1e-2], "output": [0], "c": [1e-4, 1.0]}
    assert {name: sorted(found, key=str) for name, found in sampler._search_space.items()} == values


def test_a_warm_start_comes_first_where_the_space_has_it(tmp_path):
    assert study(words=("search.warm_start=paper",)).next() == study().next()  # the quickstart has no published point
    rows = [(0.5, 4), (0.9, 8), (0.7, 16), (0.8, 512)]
    log = RowLog(tmp_path / "rows.jsonl")
    for k, (agreement, rank) in enumerate(rows):
        options = {"input": 1, "output": "head", "rank": rank, "prototypes": 16, "learning_rate": 1e-3, "epochs": 1}
        row = {"val_balanced_agreement": agreement, "val_divergence": 0.0, "config": json.dumps(options)}
        log.add_trial({**row, "method": "bridge", "stage": "search", "status": "done", "trial_id": f"x-{k:03d}"}, {})
    log.close()
    asked = study(words=(f"search.warm_start={tmp_path}",))
    first = [asked.next() for _ in range(4)]
    assert [options["rank"] for options in first[:2]] == [8, 16]  # 512 is not in the space
    assert first[0]["epochs"] == 40  # what is fixed stays
    with pytest.raises(InputError, match=r"holds no rows\.jsonl"):
        study(words=(f"search.warm_start={tmp_path}/none",))


@pytest.mark.parametrize("direction", PAPER)
def test_the_default_space_of_a_direction_has_its_published_point(direction):
    config = configure([f"experiment={direction}"])
    dataset = MODELS[direction.partition("_")[0]]
    old, new = (dataset[side.modality].build() for side in (config.old, config.new))
    assert (old.preset, new.preset) == (config.old.preset, config.new.preset)
    trial = optuna.create_study().ask()
    space(FixedOr(trial, config.method_options["bridge"].model_dump()), Shapes(old, new, 2).blocks)
    for option, published in PAPER[direction].items():
        found = trial.distributions.get(option)
        if found is None:
            assert getattr(config.method_options["bridge"], option) == published, option
        else:
            assert found._contains(found.to_internal_repr(published)), option


@pytest.mark.parametrize("words", [(), ("bridge.population=4",), ("search.min_reduction=0.95",)])
def test_whatever_is_asked_for_saves_as_much_as_it_must(words):
    config = configure(words)
    for options in run(study(words=words), 4):
        for spec in specs_of(STUDY, 0, options):
            chosen = spec.options
            width = SHAPES.new.shape_at(chosen["input"] + 1)[1]
            size = count_parameters(width, *_entered(chosen["output"]), chosen["rank"], chosen["prototypes"])
            assert 1 - size / student_parameters(SHAPES.new, 3) >= config.search.min_reduction


def _entered(output: int | str) -> tuple[int, int]:
    return (1, 48) if output == "head" else SHAPES.old.shape_at(output)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search.min_reduction=0.9999"], r"saves more than 0\.99\d of the .* parameters of the whole new model"),
        (
            ["bridge.rank=32", "bridge.prototypes=50", "bridge.output=0"],
            "min_reduction=0.85, but nothing .* free what is fixed",
        ),
    ],
)
def test_a_saving_that_no_point_reaches_is_refused_with_the_largest(words, said):
    with pytest.raises(InputError, match=said):
        study(words=words)
    assert study(words=[*words, "search.min_reduction=null"]).next()


def score(options: dict) -> float:
    return options["rank"] / 32 + options["learning_rate"]


def run(asked: SearchStudy, at_once: int, seed: int = 0) -> list[dict]:
    """Everything that a study asks for, with so many trials running at once that end in any order."""
    rng, running, found = random.Random(seed), [], []
    while running or not asked.finished:
        while len(running) < at_once and (options := asked.next()) is not None:
            running.append(options)
            found.append(options)
        done = running.pop(rng.randrange(len(running)))
        asked.tell(done["number"], score(done))
    return found


def test_the_same_is_asked_for_however_many_run_at_once_and_end_in_whatever_order():
    alone = run(study(), 1)
    assert [options["number"] for options in alone] == list(range(12))
    assert len({json.dumps(options) for options in alone}) == 12
    for at_once, seed in ((2, 1), (4, 2), (64, 3)):
        assert sorted(run(study(), at_once, seed), key=lambda options: options["number"]) == alone
    assert run(study(words=("seed=1",)), 1) != alone


def test_a_study_of_full_size_encoders_travels_with_the_experiment():
    """Tune pickles what it asks; HuBERT-ECG's weight norm cannot be."""
    dataset = MODELS["wesad"]
    shapes = Shapes(dataset["ppg"].build(), dataset["ecg"].build(), 3)
    asked = SearchStudy(configure(["experiment=wesad_ppg2ecg"]), STUDY, {}, shapes, {})
    assert cloudpickle.loads(cloudpickle.dumps(StudySearcher(asked)))


def test_a_round_is_asked_for_only_when_the_last_one_is_known():
    asked = study()
    first = [asked.next() for _ in range(4)]
    assert asked.next() is None
    for options in first[:3]:
        asked.tell(options["number"], 0.5)
    assert asked.next() is None
    asked.tell(3, None)
    assert asked.next()["number"] == 4


@pytest.mark.parametrize("there", [1, 4, 6, 11])
def test_a_study_goes_on_from_its_rows_as_if_it_had_never_stopped(there):
    whole = run(study(), 1)
    rows = [
        {"trial_id": f"bridge-fold0-{k:03d}", "status": "done", "val_balanced_agreement": score(options)}
        for k, options in enumerate(whole[:there])
    ]
    known = known_scores(rows, together=1, round_size=4)
    assert run(study(known), 2) == whole[there:]


def test_a_failed_trial_is_tried_again_unless_a_later_round_was_built_on_it():
    def row(number: int, status: str = "done") -> dict:
        return {"trial_id": f"bridge-fold0-{number:03d}", "status": status, "val_balanced_agreement": 0.5}

    rows = [row(0), row(1, "failed"), row(2), row(3), row(4), row(5, "failed")]
    assert known_scores(rows, together=1, round_size=4) == {0: 0.5, 1: None, 2: 0.5, 3: 0.5, 4: 0.5}
    assert known_scores(rows[:3], together=1, round_size=4) == {0: 0.5, 2: 0.5}


def test_what_the_user_fixes_is_not_searched():
    asked = study(words=("bridge.rank=3", "bridge.output=head", "bridge.loss=mse")).next()
    assert (asked["rank"], asked["output"], asked["loss"], asked["number"]) == (3, "head", "mse", 0)
    assert {"input", "prototypes", "learning_rate"} <= set(asked)


def test_members_of_a_population_share_what_is_asked_of_positions():
    asked = study(words=("bridge.population=3", "bridge.learning_rate=0.1")).next()
    assert {"rank", "rank@1", "rank@2", "prototypes@2", "input", "output"} <= set(asked)
    specs = specs_of(STUDY, 7, {**asked, "number": 2})
    assert [spec.trial_id for spec in specs] == ["bridge-fold0-006", "bridge-fold0-007", "bridge-fold0-008"]
    for k, spec in enumerate(specs):
        assert not any("@" in name for name in spec.options)
        assert spec.options["rank"] == asked[f"rank@{k}" if k else "rank"]
        assert spec.options["output"] == asked["output"]
        assert spec.seed == 7


def test_a_population_of_which_nothing_is_searched_has_all_its_members():
    specs = specs_of(STUDY, 0, {"population": 2, "rank": 3, "number": 1})
    assert [(spec.trial_id[-3:], spec.options["rank"]) for spec in specs] == [("002", 3), ("003", 3)]


def test_an_option_that_is_fixed_is_not_asked_of_optuna():
    trial = optuna.create_study().ask()
    asked = FixedOr(trial, {"rank": 3})
    assert asked.suggest_int("rank", 1, 8) == 3
    assert 1 <= asked.suggest_int("input", 1, 8) <= 8
    assert set(trial.params) == {"input"}


def test_ties_are_broken_by_divergence_then_size():
    def row(trial: str, agreement: float, divergence: float, size: int, status: str = "done") -> dict:
        return {
            "trial_id": trial,
            "status": status,
            "error": "E: what happened" if status == "failed" else None,
            "val_balanced_agreement": agreement,
            "val_divergence": divergence,
            "trainable_parameters": size,
            "config": json.dumps({"trial": trial}),
        }

    rows = [
        row("a", 0.7, 0.5, 10),
        row("b", 0.8, 0.5, 10),
        row("c", 0.8, 0.4, 20),
        row("d", 0.8, 0.4, 15),
        row("e", 1, 0, 1, "failed"),
    ]
    assert best_of(STUDY, rows) == {"trial": "d"}
    with pytest.raises(RunError, match="every trial of bridge failed \\(E: what happened\\)"):
        best_of(STUDY, rows[-1:])
