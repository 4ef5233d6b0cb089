"""Positions: the scores are what independent computations give, and the rule takes the best of them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmark.bridge import positions
from benchmark.bridge.positions import linear_cka, minibatch_cka, quality
from benchmark.perf.plain import once_per_block


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 7))
    return x, np.concatenate([x @ rng.standard_normal((7, 4)), rng.standard_normal((60, 5))], axis=1)


def test_cka_is_the_gram_matrix_definition(pair):
    x, y = pair
    centre = np.eye(60) - 1 / 60
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert linear_cka(x, y) == pytest.approx(np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m)), rel=1e-12)


def test_cka_ignores_rotation_and_scale_and_is_one_for_itself(pair):
    x, y = pair
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((7, 7)))[0]
    assert linear_cka(x, x) == pytest.approx(1)
    assert linear_cka(3 * x @ rotation + 5, y) == pytest.approx(linear_cka(x, y))
    assert linear_cka(np.ones_like(x), y) == 0


def test_unbiased_hsic_is_the_sum_over_distinct_indices(pair):
    x, y = (side[:7] for side in pair)
    k, m = x @ x.T, y @ y.T
    n, sums = 7, np.zeros(3)
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        sums += [k[i, j] * m[i, j], k[i, j] * m[q, r], k[i, j] * m[i, q]]
    expected = (sums[0] + sums[1] - 2 * sums[2]) / (n * (n - 1) * (n - 2) * (n - 3))
    assert positions._unbiased_hsic(k, m) == pytest.approx(expected, rel=1e-10)


def test_debiased_cka_of_unrelated_features_is_near_zero():
    rng = np.random.default_rng(2)
    draws = [(rng.standard_normal((30, 40)), rng.standard_normal((30, 40))) for _ in range(50)]
    assert np.mean([linear_cka(x, y) for x, y in draws]) > 0.4
    assert abs(np.mean([linear_cka(x, y, debiased=True) for x, y in draws])) < 0.03


def test_one_batch_is_the_debiased_estimate_and_small_ones_are_close(pair):
    x, y = pair
    whole = linear_cka(x, y, debiased=True)
    assert minibatch_cka(x, y, 60, seed=0) == pytest.approx(whole, rel=1e-12)
    assert minibatch_cka(x, y, 20, seed=0) == pytest.approx(whole, abs=0.1)


def test_minibatch_cka_does_not_see_a_mean_of_ten_thousand_standard_deviations(pair):
    x, y = pair
    far = [side + 1e4 * side.std(0) for side in pair]
    assert minibatch_cka(*far, 20, seed=0) == pytest.approx(minibatch_cka(x, y, 20, seed=0), abs=1e-6)


def test_quality_is_cross_validated_macro_f1():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, 90)
    x = rng.standard_normal((90, 5)) + label[:, None]
    scores = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=7).split(x, label):
        mean, sd = x[train].mean(0), x[train].std(0)
        model = LogisticRegression(max_iter=1000).fit((x[train] - mean) / sd, label[train])
        scores.append(f1_score(label[test], model.predict((x[test] - mean) / sd), average="macro"))
    assert quality(x, label, seed=7) == pytest.approx(np.mean(scores))
    assert quality(x, np.zeros(90, dtype=int), seed=7) == 0


def test_a_class_too_rare_for_the_folds_is_always_trained_on_and_never_scored():
    rng = np.random.default_rng(3)
    label = np.repeat([0, 2, 3, 5], [30, 30, 1, 3])  # 1 and 4 are nobody's
    x = rng.standard_normal((len(label), 5)) + 0.5 * label[:, None]
    often, scores = np.flatnonzero(label != 3), []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=7).split(x[often], label[often]):
        train, test = np.append(often[train], np.flatnonzero(label == 3)), often[test]
        scaler = StandardScaler().fit(x[train])
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(x[train]), label[train])
        said = model.predict(scaler.transform(x[test]))
        scores.append(np.mean([f1_score(label[test] == k, said == k) for k in (0, 2, 5)]))
    assert quality(x, label, seed=7) == pytest.approx(np.mean(scores))
    assert quality(x[:62], np.append(np.arange(60) // 60, [1, 2]), seed=7) == 0  # one class that can be scored


def test_selection_takes_the_best_block_and_its_most_similar(task):
    found = positions.select(task, seed=0)
    assert found.quality.shape == (task.new.n_blocks,)
    assert found.similarity.shape == (task.new.n_blocks, task.old.n_blocks)
    assert found.quality[found.input] == found.quality.max()
    assert found.similarity[found.input, found.output] == found.similarity[found.input].max()
    x, y = task.pooled("new", "pair", found.input + 1), task.pooled("old", "pair", found.output)
    assert found.similarity[found.input, found.output] == pytest.approx(linear_cka(x.numpy(), y.numpy()), rel=1e-4)
    assert positions.select(task, seed=0).quality.tolist() == found.quality.tolist()


def test_positions_from_one_pass_are_those_from_a_run_for_every_block(task):
    """The released code runs both models once per block; so does this, with the same rule by itself."""
    windows = {side: task.windows(side).take(task.indices("pair")) for side in ("old", "new")}
    outputs = [x.double().numpy() for x in once_per_block(task.new, task.new.inputs(windows["new"]))]
    inputs = []
    for block in range(task.old.n_blocks):
        with torch.inference_mode():
            hiddens = task.old.block_outputs(task.old.inputs(windows["old"]))
        inputs.append(task.old.pool(hiddens[block]).double().numpy())
    pseudo_label = task.teacher_logits("pair").argmax(1).numpy()
    qualities = [quality(x, pseudo_label, seed=0) for x in outputs]
    i = int(np.argmax(qualities))
    j = int(np.argmax([linear_cka(outputs[i], y) for y in inputs]))
    found = positions.select(task, seed=0)
    assert (found.input, found.output) == (i, j)
    np.testing.assert_allclose(found.quality, qualities, rtol=1e-6)


def test_each_kind_of_similarity_gives_a_whole_matrix(task):
    found = {kind: positions.select(task, 0, kind).similarity for kind in ("cka", "debiased_cka", "minibatch_cka")}
    shape = (task.new.n_blocks, task.old.n_blocks)
    assert all(matrix.shape == shape and np.isfinite(matrix).all() for matrix in found.values())
    assert (found["debiased_cka"] < found["cka"]).all()
