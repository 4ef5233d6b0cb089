"""Competitors that are fitted in closed form, each against a computation of its own, and where the answer is known."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial import procrustes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from baselines.probe_soft import fit_soft
from baselines.ridge import affine, orthogonal
from benchmark import registry
from benchmark.config.options import Blocks
from benchmark.errors import InputError
from benchmark.frozen.task import Task
from benchmark.plan import Spec
from benchmark.registry import configure
from tests.conftest import run_final
from tests.test_transfer import make

POINTS: dict[str, dict[str, Any]] = {
    "probe_hard": {"block": 2, "c": 0.1},
    "probe_soft": {"block": 2, "temperature": 2.0, "penalty": 1e-2},
    "ridge": {"block": 2, "map": "affine", "penalty": 1e-2},
    "knn": {"block": 2, "neighbours": 5},
}
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def same(task: Task) -> Task:
    """A task whose new modality is the old one, seen by the old encoder."""
    twin = task.noting()
    twin.__dict__["new"] = task.old
    twin.pooled = lambda side, split, block: task.pooled("old", split, block)  # type: ignore[method-assign]
    return twin


@pytest.mark.parametrize("method", [*POINTS, "random_bridge", "oracle_pair_probe"])
def test_a_trial_predicts_what_its_device_would(task: Task, method: str):
    """From raw windows to logits, as from stored features; and the row is whole."""
    made = make(method, task, POINTS.get(method, {}))
    windows = task.windows("new").take(task.indices("test"))
    torch.testing.assert_close(made.predict(windows), made.logits("test"), rtol=1e-4, atol=1e-4)
    row, predicted = run_final(task.config, Spec(method, "final", method, 0, 0, POINTS.get(method, {})), "simulated")
    assert row["status"] == "done", row
    assert set(predicted["prediction"]) <= set(range(task.n_classes))
    assert made.seeded == (method == "random_bridge")
    assert row["stored_parameters"] > row["trainable_parameters"]


def standardised(x: torch.Tensor) -> np.ndarray:
    x = x.double()
    return ((x - x.mean(0)) / x.std(0, correction=0)).numpy()


def test_the_hard_probe_is_a_logistic_regression_on_the_teachers_classes(task: Task):
    made = make("probe_hard", task, POINTS["probe_hard"])
    x, said = standardised(task.pooled("new", "pair", 3)), task.teacher_logits("pair").argmax(1).numpy()
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000, tol=1e-8).fit(x, said)
    found = made.logits("pair").softmax(1)[:, np.unique(said)].numpy()
    np.testing.assert_allclose(found, model.predict_proba(x), atol=2e-3)
    assert made.trainable_parameters == (task.new.shape_at(3)[1] + 1) * task.n_classes


def test_the_soft_probe_finds_the_minimum_that_another_search_finds():
    x = rng.normal(size=(40, 3))
    target = rng.dirichlet([1, 2, 3], size=40)
    weight, bias = fit_soft(x, target, 0.1)

    def objective(flat: np.ndarray) -> float:
        w, b = torch.from_numpy(flat[:9].reshape(3, 3)), torch.from_numpy(flat[9:])
        logs = (torch.from_numpy(x) @ w.T + b).log_softmax(1)
        divergence = torch.nn.functional.kl_div(logs, torch.from_numpy(target), reduction="batchmean")
        return float(divergence + 0.05 * w.square().sum())

    other = minimize(objective, np.zeros(12), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(weight.ravel(), other.x[:9], atol=1e-4)
    np.testing.assert_allclose(bias - bias.mean(), other.x[9:] - other.x[9:].mean(), atol=1e-4)


def test_the_affine_map_is_ridge_regression_and_the_orthogonal_one_procrustes():
    x, y = rng.normal(size=(50, 6)), rng.normal(size=(50, 4))
    x, y = x - x.mean(0), y - y.mean(0)
    np.testing.assert_allclose(affine(x, y, 0.02), Ridge(alpha=0.02 * 50, fit_intercept=False).fit(x, y).coef_.T)
    square = y @ rng.normal(size=(4, 6)) + 0.1 * x
    rotation = orthogonal(x, square)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-12)
    ours, theirs = (square / np.linalg.norm(square), x @ rotation / np.linalg.norm(x))
    scale = np.sum(ours * theirs)
    assert np.square(ours - scale * theirs).sum() == pytest.approx(procrustes(square, x)[2])
    padded = np.pad(y, ((0, 0), (0, 2)))
    np.testing.assert_allclose(orthogonal(x, y), orthogonal(x, padded)[:, :4])


def test_the_neighbours_vote_as_scikit_learns_do(task: Task):
    made = make("knn", task, POINTS["knn"])
    x, said = standardised(task.pooled("new", "pair", 3)), task.teacher_logits("pair").argmax(1).numpy()
    votes = KNeighborsClassifier(5).fit(x, said).predict_proba(x)
    np.testing.assert_allclose(made.logits("pair").exp()[:, np.unique(said)] - 1e-3, votes, atol=1e-6)
    assert made.trainable_parameters == 0
    assert make("knn", task, {"block": 2, "neighbours": 10**6}).neighbours == len(x)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("probe_hard", {"block": 3, "c": 1e4}),
        ("probe_soft", {"block": 3, "temperature": 1.0, "penalty": 1e-9}),
        ("ridge", {"block": 3, "map": "affine", "penalty": 1e-9}),
        ("ridge", {"block": 3, "map": "orthogonal", "penalty": 1.0}),
        ("knn", {"block": 3, "neighbours": 1}),
    ],
)
def test_where_both_modalities_are_one_the_teacher_is_reached(same: Task, method: str, options: dict[str, Any]):
    """On the pairs themselves, from the last block that the teacher reads, too."""
    made = make(method, same, options)
    assert (made.logits("pair").argmax(1) == same.teacher_logits("pair").argmax(1)).all()


def test_a_teacher_of_one_opinion_is_followed(task: Task):
    twin = task.noting()
    twin.teacher_logits = lambda split: torch.tensor([[0.0, 1.0, 0.0]]).repeat(len(task.indices(split)), 1)  # type: ignore[method-assign]
    for method, options in POINTS.items():
        if method != "ridge":  # which does not learn from its opinion
            assert (make(method, twin, options).logits("val").argmax(1) == 1).all()


@pytest.mark.parametrize("method", POINTS)
def test_sizes_over_the_space_hold_what_is_made(task: Task, method: str):
    sizes = registry.get(method).sizes(task.old, task.new, task.n_classes, {"block": range(task.new.n_blocks)})
    made = make(method, task, POINTS[method])
    assert all(size.least <= made.trainable_parameters <= size.most for size in sizes)
    assert bool(sizes) == (made.trainable_parameters > 0)


def test_a_block_that_is_not_there_is_refused():
    config = configure(["methods=[knn]", "knn.block=8"])
    with pytest.raises(InputError, match=r"knn\.block=8 cannot be used; .* 0 to 7"):
        config.method_options["knn"].check(config, Blocks(8, 4, 32, 48))
