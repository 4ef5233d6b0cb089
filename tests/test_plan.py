"""The plan is data: what will run is known, counted and priced before anything runs."""

import subprocess
import sys

import pytest

from benchmark import registry
from benchmark.errors import InputError
from benchmark.frozen.loading import load_data
from benchmark.frozen.weights import Shapes
from benchmark.plan import make_plan
from benchmark.search.space import recorded_space
from tests.conftest import SMALL, changed


def planned(config, **split):
    config = changed(config, data={"split": config.data.split.model_copy(update=split)})
    return config, make_plan(config, load_data(config))


def test_one_split_is_a_study_a_method_and_its_finals(small):
    _, plan = planned(small)
    assert [study.name for study in plan.studies] == ["bridge-fold0", "kd_logits-fold0"]
    finals = [final.trial_id for final in plan.finals]
    assert len(finals) == len(set(finals)) == 3 + 3 + 1 + 1 + 1 + 3
    assert "teacher-final-fold0-seed0" in finals
    assert "teacher-final-fold0-seed1" not in finals  # it has no seed
    assert list(plan.methods) == ["bridge", "kd_logits", "majority", "teacher", "oracle_probe", "oracle_finetune"]


@pytest.mark.parametrize("folds", ["first", "each"])
def test_folds_are_searched_as_configured_and_each_final_knows_its_study(small, folds):
    config = changed(small, search={"folds": folds})
    _, plan = planned(config, kind="kfold", folds=4)
    assert len(plan.folds) == 4
    assert {study.fold for study in plan.studies} == (set(range(4)) if folds == "each" else {0})
    for final in plan.finals:
        if final.study:
            assert final.study.fold == (final.fold if folds == "each" else 0)
            assert final.study.method == final.method
        else:
            assert final.method in config.references


def test_a_choice_takes_at_most_twice_as_many_trainings_as_trials(small):
    for words, folds, trainings in (({}, 3, 21), ({"trials": 2}, 3, 4), ({"trials": 1}, 2, 2)):
        _, plan = planned(changed(small, search=words))  # of three subjects
        assert {(study.folds, study.trainings) for study in plan.studies} == {(folds, trainings)}
    _, plan = planned(changed(small, search={"trials": 12}), train=2, val=2, pair=3, test=1)
    assert {(study.folds, study.trainings) for study in plan.studies} == {(4, 24)}
    _, plan = planned(small.model_copy(update={"protocol": "val"}))
    assert {(study.folds, study.trainings) for study in plan.studies} == {(1, 12)}


def test_one_subject_cannot_be_chosen_by_in_folds(small):
    split = {"kind": "paper", "units": "windows", "train": 10, "val": 4, "pair": 10, "test": 6}
    one = changed(small, data={"subjects": 1, "split": small.data.split.model_copy(update=split)})
    with pytest.raises(
        InputError, match=r"needs two subjects in pair and val together, paper has 1; choose .*protocol=val"
    ):
        make_plan(one, load_data(one))
    assert make_plan(one.model_copy(update={"protocol": "val"}), load_data(one)).studies


def test_every_fold_is_searched_unless_the_user_says_so(small):
    assert small.search.folds == "each"


@pytest.mark.parametrize(
    ("folds", "kind", "leaky"), [("first", "kfold", True), ("each", "kfold", False), ("first", "subjects", False)]
)
def test_a_choice_made_with_subjects_of_test_is_said_to_leak(small, folds, kind, leaky):
    """One search for all folds reads subjects that are in test of the others."""
    _, plan = planned(changed(small, search={"folds": folds}), kind=kind, folds=4)
    said = {(final.fold > 0, final.study is not None): final.leakage for final in plan.finals}
    assert {where for where, leakage in said.items() if leakage == "choice"} == ({(True, True)} if leaky else set())
    assert {study.leakage for study in plan.studies} == {"none"}
    assert plan.leakage == ("choice" if leaky else "none")


def test_a_plan_is_the_same_each_time_and_reads_only_the_data(small):
    assert planned(small)[1].document() == planned(small)[1].document()


def test_sizes_are_those_of_the_methods_that_are_made(small, task):
    blocks = Shapes(task.old, task.new, task.n_classes).blocks
    options = small.method_options["bridge"].model_dump()
    point = {"rank": 4, "prototypes": 8, "input": 1}
    space = recorded_space(registry.search_space("bridge"), {**options, **point}, blocks)
    sizes = registry.get("bridge").sizes(task.old, task.new, task.n_classes, space)
    assert [size.where for size in sizes] == [*(f"into block {j}" for j in range(task.old.n_blocks)), "into the head"]
    for size, output in zip(sizes, [*range(task.old.n_blocks), "head"], strict=True):
        found = []
        for objective in ("published", "pooled"):  # whose inputs are standardised, with a constant beside them
            fixed = {**point, "objective": objective, "output": output, "learning_rate": 1e-3}
            found.append(registry.get("bridge")(task, registry.options_of("bridge", fixed), 0).trainable_parameters)
        assert [size.least, size.most] == found
    fixed = {"temperature": 1.0, "learning_rate": 1e-3, "batch_size": 8, "adapt": "full"}
    student = registry.get("kd_logits")(task, registry.options_of("kd_logits", fixed), 0)
    (size,) = registry.get("kd_logits").sizes(task.old, task.new, task.n_classes, {})
    assert size.least == size.most == student.trainable_parameters


def test_the_command_prints_it_and_runs_nothing(tmp_path):
    words = [*SMALL, f"results={tmp_path}/results", f"cache={tmp_path}/cache", "--plan"]
    done = subprocess.run([sys.executable, "-m", "benchmark", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for part in (
        "bridge-fold0",
        "12",
        "into the head",
        "the whole new model",
        "features of a subject",
        "estimated time",
    ):
        assert part in done.stdout
    assert not (tmp_path / "results").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["data"]
