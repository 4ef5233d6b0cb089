"""Studies: what they ask for depends on the seed and on whole rounds, and on nothing else; what their rows choose."""

import heapq
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import cloudpickle
import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.paper import MODELS
from benchmark.bridge.network import count_parameters
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry as encoders
from benchmark.errors import InputError
from benchmark.frozen.weights import Shapes
from benchmark.method import student_parameters
from benchmark.perf.waiting import length
from benchmark.plan import Final, Study
from benchmark.registry import configure, options_of
from benchmark.results.log import RowLog
from benchmark.search.choice import Unchosen, best_of
from benchmark.search.finals import FinalTrials
from benchmark.search.journal import Journal
from benchmark.search.objectives import rank
from benchmark.search.samplers import sampler_of
from benchmark.search.space import FixedOr
from benchmark.search.studies import Asked, SearchStudy, asked_of, specs_of
from benchmark.search.tuning import StudiesSearcher
from benchmark.trial.folds import merged, one_fold, summary
from search_spaces.bridge import PAPER, space

SHAPES = Shapes(
    encoders.build("hubert_ecg", SignalSpec("ecg", ("ECG",), 100.0, 1000, "z"), device="meta"),
    encoders.build("papagei", SignalSpec("ppg", ("BVP",), 125.0, 1250, "z"), device="meta"),
    n_classes=3,
)
STUDY = Study("bridge", 0, 12)
IN_FOLDS = replace(STUDY, folds=4)


configured = cache(configure)


def study(words: Sequence[str] = (), rows: Sequence[dict] = (), of: Study = STUDY) -> SearchStudy:
    config = configured(tuple(words))
    fixed = {name: value for name, value in config.method_options["bridge"].model_dump().items() if value is not None}
    together = config.method_options["bridge"].trained_together
    return SearchStudy(config, replace(of, together=together), fixed, SHAPES, rows)


@pytest.mark.parametrize("sampler", ["tpe", "multivariate_tpe", "random", "grid", "nsga2", "cmaes"])
def test_every_sampler_asks_by_seed_and_rounds_alone(sampler):
    words = (f"search.sampler={sampler}",)
    alone = run(study(words), 1)
    assert len({json.dumps(asked.options) for asked in alone}) >= (8 if sampler == "nsga2" else 12)  # some have twins
    assert in_order(run(study(words), 4, seed=1)) == alone


def test_samplers_differ_and_learn():
    longer = replace(STUDY, trials=60)
    asked = {name: run(study((f"search.sampler={name}",), of=longer), 4) for name in ("random", "tpe")}
    late = {name: sum(map(score, found[30:])) for name, found in asked.items()}
    assert late["tpe"] > late["random"]


def test_the_grid_is_made_of_published_values_where_the_space_has_them():
    space = {"rank": [2, 4, 8], "learning_rate": [3e-4, 1e-2], "output": [0, 1, "head"], "c": [1e-4, 1.0]}
    sampler = sampler_of("grid", 0, 12, space, [*PAPER.values()])
    values = {"rank": [4, 8], "learning_rate": [3e-4, 1e-2], "output": [0], "c": [1e-4, 1.0]}
    assert {name: sorted(found, key=str) for name, found in sampler._search_space.items()} == values


def test_a_warm_start_comes_first_where_the_space_has_it(tmp_path):
    assert study(("search.warm_start=paper",)).next() == study().next()  # the quickstart has no published point
    rows = [(0.5, 4), (0.9, 8), (0.7, 16), (0.8, 512)]
    log = RowLog(tmp_path / "rows.jsonl")
    for k, (agreement, size) in enumerate(rows):
        options = {"input": 1, "output": "head", "rank": size, "prototypes": 16, "learning_rate": 1e-3, "epochs": 1}
        row = {"val_balanced_agreement": agreement, "val_divergence": 0.0, "config": json.dumps(options)}
        log.add_trial({**row, "method": "bridge", "stage": "search", "status": "done", "trial_id": f"x-{k:03d}"}, {})
    log.close()
    asked = study((f"search.warm_start={tmp_path}",))
    first = [asked.next().options for _ in range(4)]
    assert [options["rank"] for options in first[:2]] == [8, 16]  # 512 is not in the space
    assert first[0]["epochs"] == 40  # what is fixed stays
    with pytest.raises(InputError, match=r"holds no rows\.jsonl"):
        study((f"search.warm_start={tmp_path}/none",))


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
        if option in ("init", "standardise"):  # as it is where nobody says otherwise
            default = options_of("bridge", {"objective": "published"})
            assert {"init": default.start, "standardise": default.standardises}[option] == published
        elif found is None:
            assert getattr(config.method_options["bridge"], option) == published, option
        else:
            assert found._contains(found.to_internal_repr(published)), option


@pytest.mark.parametrize("words", [(), ("bridge.population=4",), ("search.min_reduction=0.95",)])
def test_whatever_is_asked_for_saves_as_much_as_it_must(words):
    config = configure(words)
    for asked in run(study(words), 4):
        for spec in specs_of(STUDY, 0, asked):
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
        study(words)
    assert study([*words, "search.min_reduction=null"]).next()


def score(asked: Asked) -> float:
    return asked.options["rank"] / 32 + asked.options["learning_rate"] + asked.inner / 1000


def rows_of(asked: Asked, status: str = "done") -> list[dict]:
    """What training came to: two epochs, of which the second is worse."""
    value = score(asked)
    curve = [(value, value, 0.1, None), (value - 1, value - 1, 0.1, None)] if status == "done" else []
    row = {
        "trial_id": f"bridge-fold0-{asked.number:03d}",
        "status": status,
        "error": None if status == "done" else f"E: {status}",
        "epochs": 2,
        "trainable_parameters": asked.options["rank"],
        "train_seconds": 1.0,
        "config": json.dumps(dict(asked.options)),
        "folds": one_fold(asked.inner, status, curve),
        "inner_folds": 1,
    }
    return [{**row, **summary([curve], 1)} if curve else row]


def run(asked: SearchStudy, at_once: int, seed: int = 0, log: dict | None = None) -> list[Asked]:
    """Everything that a study asks for, with so many trials running at once that end in any order.

    ``log`` takes rows by trial, as a run's log does.
    """
    rng, running, found = random.Random(seed), [], []
    while running or not asked.finished:
        while len(running) < at_once and (one := asked.next()) is not None:
            running.append(one)
            found.append(one)
        if not running:  # all was known
            break
        done = running.pop(rng.randrange(len(running)))
        [row] = rows_of(done)
        asked.tell(done.number, done.inner, [row])
        if log is not None:
            log[done.number] = merged(log.get(done.number), row)
    return found


def in_order(asked: Sequence[Asked]) -> list[Asked]:
    return sorted(asked, key=lambda one: (one.inner, one.number))


def test_the_same_is_asked_for_however_many_run_at_once_and_end_in_whatever_order():
    alone = run(study(), 1)
    assert [asked.number for asked in alone] == list(range(12))
    assert len({json.dumps(asked.options) for asked in alone}) == 12
    in_folds = in_order(run(study(of=IN_FOLDS), 1))
    assert in_folds[:12] == alone
    for at_once, seed in ((2, 1), (4, 2), (64, 3)):
        assert in_order(run(study(), at_once, seed)) == alone
        assert in_order(run(study(of=IN_FOLDS), at_once, seed)) == in_folds
    assert run(study(("seed=1",)), 1) != alone


@pytest.mark.parametrize(("trials", "trained"), [(12, [12, 6, 3, 3]), (6, [6, 3, 1, 1]), (3, [3, 1, 1, 1])])
def test_the_better_half_goes_on_to_the_second_fold_and_a_quarter_to_the_others(trials, trained):
    found = run(study(of=replace(IN_FOLDS, trials=trials)), 2)
    by_fold = [{one.number: one for one in found if one.inner == inner} for inner in range(4)]
    assert [len(one) for one in by_fold] == trained
    assert len(found) == replace(IN_FOLDS, trials=trials).trainings <= 2 * trials
    for below, above in ((0, 1), (1, 2), (1, 3)):
        stayed = [score(one) for number, one in by_fold[below].items() if number not in by_fold[above]]
        assert max(stayed, default=0) <= min(score(by_fold[below][number]) for number in by_fold[above])


@pytest.mark.parametrize("status", ["failed", "diverged", "pruned"])
def test_what_came_to_nothing_goes_on_to_no_further_fold(status):
    asked = study(of=replace(IN_FOLDS, trials=4))
    first = [asked.next() for _ in range(4)]
    best = max(first, key=score)
    for one in first:
        asked.tell(
            one.number,
            0,
            rows_of(one, status)
            if one is best and status != "pruned"
            else [{**rows_of(one)[0], "status": status, "folds": one_fold(0, status, [(0.9, 0.9, 0.1, None)])}]
            if one is best
            else rows_of(one),
        )
    assert {asked.next().number, asked.next().number} == {one.number for one in sorted(first, key=score)[1:3]}


def test_a_row_is_the_mean_over_its_folds_at_the_epoch_where_that_is_best():
    one, two = (Asked(3, inner, {"rank": 16, "learning_rate": 0.1}) for inner in (0, 1))
    row = merged(rows_of(one)[0], rows_of(two)[0])
    assert (row["best_epoch"], row["inner_folds"], row["status"], row["train_seconds"]) == (1, 2, "done", 2.0)
    assert row["val_balanced_agreement"] == pytest.approx((score(one) + score(two)) / 2)
    assert row["score_standard_error"] == pytest.approx(abs(score(one) - score(two)) / 2)
    assert merged(row, rows_of(two)[0])["inner_folds"] == 2
    failed = merged(row, rows_of(Asked(3, 2, one.options), "failed")[0])
    assert (failed["status"], failed["inner_folds"], failed["error"]) == ("failed", 3, "E: failed")
    assert failed["val_balanced_agreement"] is None
    again = merged(failed, rows_of(Asked(3, 2, one.options))[0])
    assert (again["status"], again["error"]) == ("done", None)


def test_rivals_are_sent_on_by_what_none_beats_in_both():
    def row(agreement: float, parameters: int) -> dict:
        return {"val_balanced_agreement": agreement, "val_divergence": 0.0, "trainable_parameters": parameters}

    rows = {0: row(0.9, 90), 1: row(0.8, 80), 2: row(0.85, 95), 3: row(0.7, 85), 4: row(0.2, 10)}
    assert rank(rows, ["agreement"]) == [0, 2, 1, 3, 4]
    assert rank(rows, ["agreement", "trainable_parameters"]) == [0, 1, 4, 2, 3]


def test_two_objectives_find_smaller_ones_as_well():
    both = study(("search.objectives=[agreement,trainable_parameters]",), of=replace(STUDY, trials=40))
    alone = study(of=replace(STUDY, trials=40))
    smallest = [sum(one.options["rank"] <= 4 for one in run(asked, 4)[20:]) for asked in (both, alone)]
    assert smallest[0] > smallest[1]


def test_a_study_of_full_size_encoders_travels_with_the_experiment():
    """Tune pickles what it asks; HuBERT-ECG's weight norm cannot be."""
    dataset = MODELS["wesad"]
    shapes = Shapes(dataset["ppg"].build(), dataset["ecg"].build(), 3)
    config = configure(["experiment=wesad_ppg2ecg"])
    fixed = {name: value for name, value in config.method_options["bridge"].model_dump().items() if value is not None}
    asked = SearchStudy(config, STUDY, fixed, shapes)
    assert cloudpickle.loads(cloudpickle.dumps(StudiesSearcher([asked], lambda: 1)))


@pytest.mark.parametrize("together", [1, 4])
def test_the_journal_has_what_each_study_was_told_of(tmp_path, together):
    """Round by round while it goes on, and all of it in the end, as Optuna's own tools read it."""
    words = (f"bridge.population={together}",)
    journal, of = Journal(tmp_path), replace(STUDY, together=together)
    asked, rounds = study(words, of=of), []
    while (one := asked.next()) is not None:
        asked.tell(one.number, one.inner, rows_of(one, "failed" if one.number == 1 else "done") * together)
        journal.keep(asked)
        rounds.append(len(asked.told()))
    assert rounds == sorted(rounds)
    assert rounds[-1] == 12 // together
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "studies.journal")))
    [kept] = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    assert kept.study_name == of.name
    found = kept.get_trials()
    assert [trial.user_attrs["number"] for trial in found] == [*range(12 // together)]
    assert [trial.state.name for trial in found].count("FAIL") == 1
    best = max((trial for trial in asked.told() if trial.values), key=lambda trial: trial.value)
    assert kept.best_trial.params == best.params


def test_a_free_slot_is_filled_by_whatever_study_has_something_to_ask_for():
    studies = [study(of=Study("bridge", fold, 8)) for fold in (0, 0, 1)]
    searcher = StudiesSearcher(studies, lambda: 100)
    asked = {str(k): searcher.suggest(str(k)) for k in range(12)}
    assert [one["study"] for one in asked.values()] == ["bridge-fold0", "bridge-fold0", "bridge-fold1"] * 4
    assert [one["number"] for one in asked.values()] == [*np.repeat(range(4), 3)]  # all advance together
    assert searcher.suggest("12") is None  # a round of each is running
    for name, one in asked.items():
        searcher.on_trial_complete(name, {"rows": rows_of(Asked(one["number"], 0, one["options"]))})
    asked = {str(k): searcher.suggest(str(k)) for k in range(12, 24)}
    assert {one["number"] for one in asked.values()} == {*range(4, 8)}
    for name, one in asked.items():
        searcher.on_trial_complete(name, {"rows": rows_of(Asked(one["number"], 0, one["options"]))})
    assert searcher.suggest("24") == StudiesSearcher.FINISHED


def in_time(studies: Sequence[SearchStudy], slots: int) -> tuple[list[str], float]:
    """Names of studies in the order in which trials of the lengths of make utilisation are begun, and which share of
    the slots trains from the first one's begin to the last one's end."""
    searcher, now, trained, begun, waiting, running = StudiesSearcher(studies, lambda: slots), 0.0, 0.0, [], [], []
    while True:
        while (config := searcher.suggest(str(len(begun) + len(waiting)))) not in (None, StudiesSearcher.FINISHED):
            waiting.append(config)
        while waiting and len(running) < slots:
            one = waiting.pop(0)
            seconds = length(one["study"], one["number"])
            trained += seconds
            heapq.heappush(running, (now + seconds, len(begun), one))
            begun.append(one["study"])
        if not running:
            return begun, trained / slots / now
        now, k, one = heapq.heappop(running)
        searcher.on_trial_complete(str(k), {"rows": rows_of(Asked(one["number"], 0, one["options"]))})


@pytest.mark.parametrize("slots", [1, 2, 16])
def test_slots_stay_full_to_the_end(slots):
    """Where later folds only filled the gaps of earlier ones, the last of them had 16 slots for two rounds of four."""
    words = ("search.sampler=random", "search.min_reduction=null")
    begun, busy = in_time([study(words, of=Study("bridge", fold, 16)) for fold in range(10)], slots)
    assert len(begun) == 160
    assert busy > 0.9
    early = {int(name.removeprefix("bridge-fold")) for name in begun[:40]}
    assert (9 in early) is (slots == 16)  # no more folds at once than slots have use for


def test_what_is_lost_with_its_process_is_asked_for_again_before_anything_else():
    """Tune itself tries again what was running alone: an actor that dies while it is made ready fails its trial."""
    alone = run(study(of=IN_FOLDS), 1)
    searcher = StudiesSearcher([study(of=IN_FOLDS)], lambda: 100, retries=2)
    answered, lost, asked = [], 0, 0
    while (config := searcher.suggest(str(asked))) != StudiesSearcher.FINISHED:
        assert config is not None
        one = asked_of(config)
        if asked % 3 == 0 and lost < 8:
            searcher.on_trial_complete(str(asked), error=True)
            assert searcher.takes_up(str(asked))
            lost += 1
        else:
            answered.append(one)
            searcher.on_trial_complete(str(asked), {"rows": rows_of(one)})
        asked += 1
    assert lost == 8
    assert answered == alone


def test_one_trial_waits_beside_those_there_is_room_for():
    searcher = StudiesSearcher([study(of=IN_FOLDS)], lambda: 2)
    asked = {name: asked_of(searcher.suggest(name)) for name in ("a", "b", "c")}
    assert searcher.suggest("d") is None
    searcher.on_trial_complete("b", {"rows": rows_of(asked["b"])})
    assert searcher.suggest("d")["number"] == 3


def test_what_fits_no_free_slot_does_not_wait_beside_trials_of_another_size():
    """Tune keeps no actor while a trial waits that cannot have it: each of the larger ones would start its own."""
    large, small = study(of=Study("bridge", 0, 8, workers=2)), study(of=Study("bridge", 0, 8))
    searcher, running = StudiesSearcher([large, small], lambda: 2), {}

    def ask(name: str) -> tuple[int, int] | None:
        if (config := searcher.suggest(name)) is None:
            return None
        running[name] = asked_of(config)
        return config["workers"], config["number"]

    def end(name: str) -> None:
        searcher.on_trial_complete(name, {"rows": rows_of(running.pop(name))})

    assert [ask(name) for name in "abc"] == [(2, 0), (2, 1), (2, 2)]
    end("a")
    assert ask("d") == (2, 3)
    for name in "bc":
        end(name)
        assert ask("e") is None  # a round has ended only with its last trial, and what is small has no room
    end("d")
    assert [ask(name) for name in "efg"] == [(2, 4), (2, 5), (2, 6)]
    end("e")
    assert ask("h") == (2, 7)
    for name in "fgh":
        end(name)
    assert [ask(name) for name in "ijk"] == [(1, 0), (1, 1), (1, 2)]


class Kept:
    """A recorder's rows, in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}

    def of(self, stage: str, method: str, fold: int) -> list[dict]:
        return [row for row in self.rows.values() if row["fold"] == fold]


def test_final_trials_come_before_all_folds_are_searched_and_again_where_they_are_lost():
    config, of = configure([]), [Study("bridge", fold, 4) for fold in (0, 1)]
    finals = [Final("bridge", 1, 0, of[1]), Final("bridge", 0, 0, of[0]), Final("teacher", 0, 0)]
    kept, studies = Kept(), [study(of=one) for one in of]
    tested = FinalTrials(config, finals, studies, "simulated", kept)
    searcher = StudiesSearcher(studies, lambda: 100, tested, retries=1)
    asked = [searcher.suggest(f"a{k}") for k in range(8)]
    assert [one["study"] for one in asked] == ["bridge-fold0", "bridge-fold1"] * 4
    assert searcher.suggest("reference")["final"]["trial_id"] == "teacher-final-fold0-seed0"
    assert searcher.suggest("none") is None
    for k in range(0, 8, 2):  # those of fold 0
        rows = rows_of(asked_of(asked[k]))
        searcher.on_trial_complete(f"a{k}", {"rows": rows})
        kept.rows[f"{k}"] = {**rows[0], "trial_id": f"{k}", "fold": 0, "trainable_parameters": 1, "config": "{}"}
    final = searcher.suggest("first")
    assert final["final"]["trial_id"] == "bridge-final-fold0-seed0"  # fold 1 is still searched
    assert searcher.suggest("none") is None
    searcher.on_trial_complete("first", error=True)
    assert searcher.suggest("second") == final
    assert not searcher.over


def test_what_is_lost_too_often_has_failed():
    asked = study(of=Study("bridge", 0, 2))
    searcher = StudiesSearcher([asked], lambda: 100, retries=2)
    other = asked_of(searcher.suggest("other"))
    assert other.number == 0
    for name in ("first", "second", "third"):
        assert searcher.suggest(name)["number"] == 1
        assert searcher.suggest("next") is None  # there may be more to do until all is known
        searcher.on_trial_complete(name, error=True)
        assert searcher.takes_up(name) is (name != "third")
    searcher.on_trial_complete("other", {"rows": rows_of(other)})
    assert searcher.suggest("next") == StudiesSearcher.FINISHED
    assert [trial.state.name for trial in asked.told()] == ["COMPLETE", "FAIL"]


def test_a_round_is_asked_for_only_when_the_last_one_is_known():
    asked = study()
    first = [asked.next() for _ in range(4)]
    assert asked.next() is None
    for one in first[:3]:
        asked.tell(one.number, 0, rows_of(one))
    assert asked.next() is None
    asked.fail(first[3])
    assert asked.next().number == 4


@pytest.mark.parametrize("there", [1, 4, 6, 11, 12, 14, 18, 20, 24])
def test_a_study_goes_on_from_its_rows_as_if_it_had_never_stopped(there):
    whole, log, again = run(study(of=IN_FOLDS), 1), {}, {}
    for one in whole[:there]:
        log[one.number] = merged(log.get(one.number), rows_of(one)[0])
    resumed = study(rows=[*log.values()], of=IN_FOLDS)
    assert run(resumed, 2, log=log) == whole[there:]
    run(study(of=IN_FOLDS), 2, log=again)
    assert best_of(IN_FOLDS, [*log.values()]) == best_of(IN_FOLDS, [*again.values()])


def test_a_failed_trial_is_tried_again_unless_something_was_built_on_it():
    whole = run(study(of=IN_FOLDS), 1)

    def asked_again(there: int, *failed: int) -> list[tuple[int, int]]:
        log: dict[int, dict] = {}
        for k, one in enumerate(whole[:there]):
            log[one.number] = merged(log.get(one.number), rows_of(one, "failed" if k in failed else "done")[0])
        asked = study(rows=[*log.values()], of=IN_FOLDS)
        return [(one.number, one.inner) for one in iter(asked.next, None)]

    assert asked_again(6, 1, 5)[0] == (5, 0)  # the second round was built on the first
    assert asked_again(3, 1)[0] == (1, 0)
    second = whole[13]
    assert (second.number, 1) in asked_again(18, 13)
    assert (second.number, 1) not in asked_again(19, 13)


def test_what_the_user_fixes_is_not_searched():
    asked = study(("bridge.rank=3", "bridge.output=head", "bridge.loss=mse")).next()
    assert [asked.options[name] for name in ("rank", "output", "loss")] == [3, "head", "mse"]
    assert {"input", "prototypes", "learning_rate"} <= set(asked.options)


def test_members_of_a_population_share_what_is_asked_of_positions():
    asked = study(("bridge.population=3", "bridge.learning_rate=0.1")).next().options
    assert {"rank", "rank@1", "rank@2", "prototypes@2", "input", "output"} <= set(asked)
    specs = specs_of(IN_FOLDS, 7, Asked(2, 1, asked))
    assert {(spec.inner, spec.folds) for spec in specs} == {(1, 4)}
    assert [spec.trial_id for spec in specs] == ["bridge-fold0-006", "bridge-fold0-007", "bridge-fold0-008"]
    for k, spec in enumerate(specs):
        assert not any("@" in name for name in spec.options)
        assert spec.options["rank"] == asked[f"rank@{k}" if k else "rank"]
        assert spec.options["output"] == asked["output"]
        assert spec.seed == 7


def test_a_population_of_which_nothing_is_searched_has_all_its_members():
    specs = specs_of(STUDY, 0, Asked(1, 0, {"population": 2, "rank": 3}))
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
    assert best_of(STUDY, rows)["trial_id"] == "d"
    assert best_of(STUDY, rows[-1:]) == Unchosen("every trial of bridge failed (E: what happened)")


def test_the_smallest_within_one_standard_error_of_the_best_is_chosen():
    def row(trial: str, agreement: float, size: int, error: float, folds: int = 4) -> dict:
        numbers = {"val_balanced_agreement": agreement, "score_standard_error": error, "inner_folds": folds}
        return {"trial_id": trial, "status": "done", "val_divergence": 0.1, "trainable_parameters": size, **numbers}

    rows = [row("a", 0.80, 90, 0.05), row("b", 0.76, 20, 0.01), row("c", 0.76, 20, 0.3), row("d", 0.74, 10, 0.09)]
    rows.append(row("e", 0.99, 5, 0.0, folds=2))  # was not on all folds: it is not compared
    assert best_of(IN_FOLDS, rows, "one_standard_error")["trial_id"] == "b"
    assert best_of(IN_FOLDS, rows, "best")["trial_id"] == "a"
    without = [{**one, "score_standard_error": None} for one in rows]
    assert best_of(IN_FOLDS, without, "one_standard_error")["trial_id"] == "a"
