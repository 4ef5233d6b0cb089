"""Calibration to the wearer: by his own windows, without labels, and where it is causal without what comes later."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.run import Run
from analysis.tables import accuracy
from benchmark import registry
from benchmark.config.schema import WearerOptions
from benchmark.data.base import PairedWindows
from benchmark.errors import InputError
from benchmark.frozen.calibration import Population, moments, population_of, wearers_time
from benchmark.frozen.loading import load_data
from benchmark.frozen.task import Task
from benchmark.plan import Spec, make_plan
from benchmark.registry import configure
from benchmark.trial.trial import Trial
from tests.conftest import changed, run_final
from tests.test_analysis import CARDS, Folder
from tests.test_closed_form import POINTS
from tests.test_students import STUDENTS
from tests.test_transfer import BRIDGE
from tests.test_translate import POINT as TRANSLATE

ALL = {"bridge": {**BRIDGE, "epochs": 2}, "translate": {**TRANSLATE, "epochs": 1}, **STUDENTS, **POINTS}


@pytest.fixture(scope="module")
def data(small) -> PairedWindows:
    return load_data(small)


def features(data: PairedWindows, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(3, 2, (len(data), 5)))


def standardised(x, windows, data, kind, population, **options) -> np.ndarray:
    mean, deviation = moments(x[windows], windows, data, kind, WearerOptions(**options), population)
    return ((x[windows] - mean) / deviation).numpy()


NOBODY = Population(torch.zeros(5).double(), torch.ones(5).double())


def test_a_wearers_own_windows_have_mean_zero_and_variance_one(data):
    x, windows = features(data), np.flatnonzero(data.subject < 3)
    found = standardised(x, windows, data, "wearer", NOBODY, shrinkage=0)
    for subject in range(3):
        own = x.numpy()[data.subject == subject]
        expected = (own - own.mean(0)) / own.std(0)
        np.testing.assert_allclose(found[data.subject[windows] == subject], expected, atol=1e-9)


def test_few_windows_are_shrunk_towards_the_population(data):
    x, windows = features(data), np.flatnonzero(data.subject == 0)
    population = population_of(x, data.subject)
    means = np.stack([x.numpy()[data.subject == one].mean(0) for one in np.unique(data.subject)])
    np.testing.assert_allclose(population.mean, means.mean(0))
    own, n = x.numpy()[windows], len(windows)
    share = n / (n + 7)
    mean = share * own.mean(0) + (1 - share) * population.mean.numpy()
    variance = share * own.var(0) + (1 - share) * population.variance.numpy()
    found = standardised(x, windows, data, "wearer", population, shrinkage=7)
    np.testing.assert_allclose(found, (own - mean) / np.sqrt(variance), atol=1e-9)
    alone = standardised(x, windows, data, "wearer", population, shrinkage=2e9)
    np.testing.assert_allclose(alone, population(x[windows]), atol=1e-6)


def test_causal_calibration_is_by_what_had_ended_before_and_after_the_warm_up(data):
    """Against a loop over windows; those of this data set overlap."""
    half = data.old.spec.seconds / 2
    start = np.concatenate([half * np.arange(np.sum(data.subject == one)) for one in np.unique(data.subject)])
    overlapping = replace(data, start=start, recording=np.full(len(data), "one"))
    x, windows = features(data), np.flatnonzero(data.subject == 2)
    population = population_of(x, data.subject)
    found = standardised(x, windows, overlapping, "causal", population, shrinkage=2, warm_up=3 * half)
    for k, window in enumerate(windows):
        before = [j for j in windows if start[j] + 2 * half <= start[window] + 1e-9]
        before = before if start[window] - start[windows[0]] >= 3 * half else []
        n = len(before)
        own = x.numpy()[before] if n else np.zeros((1, 5))
        share = n / (n + 2)
        mean = share * own.mean(0) + (1 - share) * population.mean.numpy()
        variance = share * own.var(0) + (1 - share) * population.variance.numpy()
        np.testing.assert_allclose(found[k], (x.numpy()[window] - mean) / np.sqrt(variance), atol=1e-9)


def test_causal_calibration_does_not_see_the_future(data):
    x, windows = features(data), np.flatnonzero(data.subject == 1)
    population = population_of(x, data.subject)
    before = standardised(x, windows, data, "causal", population, warm_up=0)
    for k in (1, len(windows) // 2):
        later = x.clone()
        later[windows[k] :] = 1e6
        after = standardised(later, windows, data, "causal", population, warm_up=0)
        assert np.array_equal(before[:k], after[:k])
    assert not np.allclose(before[1:], population(x[windows[1:]]))


def test_only_the_first_seconds_of_a_wearer_may_be_used(data):
    x, windows = features(data), np.flatnonzero(data.subject == 1)
    begin, end = wearers_time(data, windows)
    assert begin[0] == 0
    assert np.all(np.diff(begin) > 0)
    first = float(end[2])
    population = population_of(x, data.subject)
    found = standardised(x, windows, data, "wearer", population, first=first, shrinkage=0)
    own = x.numpy()[windows[:3]]
    np.testing.assert_allclose(found, (x.numpy()[windows] - own.mean(0)) / own.std(0), atol=1e-9)


def test_recordings_follow_one_another_in_a_wearers_time(data):
    two = replace(
        data, recording=np.where(np.arange(len(data)) % 12 < 6, "b", "a"), start=7.0 + 10 * (np.arange(len(data)) % 6)
    )
    windows = np.arange(12)
    begin, end = wearers_time(two, windows)
    assert begin.tolist() == [10.0 * k for k in range(12)]
    assert np.array_equal(end, begin + 10)


@pytest.mark.parametrize("kind", ["wearer", "causal"])
def test_stored_features_and_the_teacher_are_calibrated_and_no_label_but_trains_is_read(task: Task, kind):
    worn = task.calibrated(kind)
    n = task.old.n_blocks
    for side in ("old", "new"):
        windows = np.flatnonzero(np.isin(task.data.subject, task.data.subject[task.indices("test")]))
        raw = task.features(side).pooled(windows, n if side == "old" else 2)
        population = worn.population(side, n if side == "old" else 2)
        expected = worn.within_wearers(raw, windows, population)[np.searchsorted(windows, task.indices("test"))]
        torch.testing.assert_close(worn.pooled(side, "test", n if side == "old" else 2), expected)
    assert not torch.allclose(worn.head.weight, task.head.weight)
    torch.testing.assert_close(worn.teacher_logits("pair"), worn.head(worn.pooled("old", "pair", n)))
    blind = worn.unlabelled()
    assert torch.equal(blind.pooled("new", "test", 2), worn.pooled("new", "test", 2))
    with pytest.raises(RuntimeError, match="asked for the labels"):
        blind.labels("pair")


def test_one_side_may_be_calibrated_alone(small):
    one = Task(changed(small, wearer={"sides": "new"}), 0)
    worn = one.calibrated("wearer")
    assert torch.equal(worn.head.weight, one.head.weight)
    assert torch.equal(worn.pooled("old", "val", 1), one.pooled("old", "val", 1))
    assert not torch.equal(worn.pooled("new", "val", 1), one.pooled("new", "val", 1))


@pytest.mark.parametrize("method", ALL)
def test_every_method_is_calibrated_and_says_so(task: Task, method):
    epochs = {"best_epoch": 0 if method in POINTS else 1}
    spec = Spec(method, "final", "x", 0, 0, ALL[method], calibration="wearer", chosen=epochs)
    row, predictions = run_final(task.config, spec, "simulated")
    assert row["status"] == "done", row["error"]
    assert (row["method"], row["calibration"]) == (f"{method}@wearer", "wearer")
    assert len(predictions["prediction"]) == len(task.indices("test"))
    trial = Trial(task, replace(spec, chosen=None, stage="search"))
    list(trial.epochs())
    assert torch.isfinite(trial.method.logits("val")).all()
    assert trial.method.predict(task.windows("new").take(task.indices("val")[:2])).shape == (2, task.n_classes)


def test_a_student_is_standardised_within_wearers_by_what_it_is_now(task: Task):
    worn = task.calibrated("wearer").unlabelled()
    options = registry.options_of("kd_logits", {**STUDENTS["kd_logits"], "adapt": "full"})
    student = registry.get("kd_logits")(worn, options, 0)
    student.train_epoch()
    student.model.eval()
    raw, outputs = (student._pooled(worn.prepared(part).all())[-1].detach() for part in ("val", "pair"))
    people = population_of(outputs, worn.data.subject[worn.indices("pair")])
    expected = student.head(worn.within_wearers(raw, worn.indices("val"), people))
    torch.testing.assert_close(student.logits("val"), expected, rtol=1e-3, atol=1e-3)


def test_a_run_compares_what_is_calibrated_with_what_is_not(small, data):
    config = small.model_copy(update={"calibration": ["none", "wearer"]})
    plan = make_plan(config, data)
    assert list(plan.methods) == [
        *("bridge", "kd_logits", "bridge@wearer", "kd_logits@wearer"),
        *("majority", "teacher", "oracle_probe", "oracle_finetune"),
        *("teacher@wearer", "oracle_probe@wearer", "oracle_finetune@wearer"),
    ]
    assert plan.methods["bridge@wearer"].label == "Bridge, wearer"
    assert [study.name for study in plan.studies][2:] == ["bridge@wearer-fold0", "kd_logits@wearer-fold0"]
    ids = [final.trial_id for final in plan.finals]
    assert len(ids) == len(set(ids))
    assert "majority@wearer-final-fold0-seed0" not in ids


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["calibration=person"], "calibration.*person.*wearer"),
        (["calibration=[]"], "give none, wearer or causal"),
        (["calibration=[wearer,wearer]"], "twice"),
        (["wearer.shrinkage=-1"], "wearer.shrinkage"),
        (["wearer.sides=left"], "wearer.sides.*both"),
        (["wearer.first=0"], "wearer.first"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        configure(words)
    assert configure(["calibration=wearer"]).calibration == ["wearer"]


def test_tables_say_what_was_calibrated_and_stand_side_by_side(tmp_path):
    folder = Folder(
        tmp_path, *(replace(card, name=f"{card.name}@wearer", label=f"{card.label}, wearer") for card in CARDS[:2])
    )
    for method in ("bridge", "kd_logits"):
        for calibration in ("none", "wearer"):
            name = method if calibration == "none" else f"{method}@wearer"
            row = folder.row(name, "final", calibration=calibration, trainable_parameters=10, test_agreement=0.5)
            folder.right(row, 5 if calibration == "none" else 8, subjects=3)
    run = Run(folder.write())
    labels = accuracy.build(run)["label"].to_list()
    assert {"Bridge", "Bridge, wearer", "KD logits", "KD logits, wearer"} <= set(labels)
    assert "standardised within each wearer, without labels (wearer: by his windows of the whole" in accuracy.caption(
        run
    )
    plain = Folder(tmp_path / "plain")
    plain.right(plain.row("bridge", "final", calibration="none", trainable_parameters=10), 5)
    assert "wearer" not in accuracy.caption(Run(plain.write()))
