"""What a bridge can be trained for, start from and be kept from, each against an independent computation."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.bridge.initialisation import regress
from benchmark.bridge.network import PrototypeBridge, standardised
from benchmark.bridge.objectives import OBJECTIVES, on_pooled
from benchmark.bridge.population import Population
from benchmark.bridge.regularisation import Averaging, Perturbation
from benchmark.frozen.task import Task
from benchmark.registry import options_of
from tests.test_transfer import BRIDGE, make


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_the_losses_of_decisions_and_pooled_features_are_their_formulae():
    rng, head = np.random.default_rng(0), torch.nn.Linear(5, 3).double()
    a, b = (torch.from_numpy(part) for part in rng.standard_normal((2, 7, 5)))
    weight, bias = (p.detach().numpy() for p in head.parameters())
    q, p = (softmax((one.numpy() @ weight.T + bias) / 2) for one in (a, b))
    classes = np.array([0.5, 1.0, 2.0])
    decision = 4 * np.mean(classes[p.argmax(1)] * np.sum(p * np.log(p / q), 1))
    pooled = np.mean((a.numpy() - b.numpy()) ** 2) / 0.3
    for name, (d, m) in OBJECTIVES.items():
        loss = on_pooled(head, d, 1.5 * m, 2.0, 0.3, torch.from_numpy(classes))
        assert loss(a, b).item() == pytest.approx(d * decision + 1.5 * m * pooled), name
        assert loss(b, b).item() == pytest.approx(0, abs=1e-12)


def test_classes_that_the_teacher_rarely_names_weigh_as_much_in_all_as_others(task: Task):
    said = task.teacher_logits("pair").argmax(1)
    weight = make("bridge", task, {**BRIDGE, "objective": "decision"})._class_weights()[said]
    named = said.unique()
    for one in named:
        assert float(weight[said == one].sum()) == pytest.approx(len(said) / len(named), rel=1e-5)
    even = make("bridge", task, {**BRIDGE, "objective": "decision", "class_weighted": False})._class_weights()
    assert set(even.tolist()) == {1.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("regression", True)),
        ({"objective": "decision"}, ("regression", True)),
        ({"objective": "published"}, ("rand", False)),
        ({"objective": "published", "init": "regression", "standardise": True}, ("regression", True)),
        ({"objective": "both", "init": "randreal", "standardise": False}, ("randreal", False)),
    ],
)
def test_the_published_objective_begins_as_published(options, expected):
    found = options_of("bridge", options)
    assert (found.start, found.standardises) == expected


@pytest.mark.parametrize("output", [1, "head"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_on_pooled_features_trains_the_bridge_and_reads_no_token(
    task: Task, objective, output, monkeypatch
):
    monkeypatch.setattr(Task, "last", None)
    monkeypatch.setattr(Task, "block_input", None)
    method = make("bridge", task.unlabelled(), {**BRIDGE, "objective": objective, "output": output})
    frozen = copy.deepcopy(task.old.state_dict()), copy.deepcopy(task.head.state_dict())
    losses = [method.train_epoch().loss for _ in range(30)]
    assert losses[-1] < 0.9 * losses[0]
    for before, module in zip(frozen, (task.old, task.head), strict=True):
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_first_loss_of_a_decision_is_that_of_the_old_model_on_nothing(task: Task):
    """B is zero, and so is what enters block j."""
    options = {"objective": "decision", "batch_size": 1000, "temperature": 3.0, "class_weighted": False}
    method = make("bridge", task, {**BRIDGE, **options})
    nothing = task.old.from_tokens(torch.zeros(1, *task.old.shape_at(1)))
    said = task.head(task.old.pool(task.old.run(nothing, 1, task.old.n_blocks)))
    taught = (task.teacher_logits("pair") / 3).log_softmax(1)
    expected = 9 * F.kl_div((said / 3).log_softmax(1).expand_as(taught), taught, log_target=True, reduction="batchmean")
    assert method.train_epoch().loss == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "both"},
        {"objective": "decision", "weight_decay": 0.1},
        {"dropout": 0.3, "mixing": 0.4, "averaging": True, "standardise": True},
    ],
)
def test_members_of_a_population_are_trained_as_alone(task: Task, changes):
    options = {**BRIDGE, **changes, "epochs": 4}
    sizes = [{"rank": 3, "prototypes": 8, "learning_rate": 1e-2}, {"rank": 2, "prototypes": 4, "learning_rate": 3e-3}]
    alone, members = ([make("bridge", task, {**options, **one}, seed=2) for one in sizes] for _ in range(2))
    group = Population(members)
    for _ in range(3):  # rounding grows with every step
        group.train_epoch()
        for method in alone:
            method.train_epoch()
    for one, other in zip(alone, members, strict=True):
        torch.testing.assert_close(one.logits("val"), other.logits("val"), rtol=1e-3, atol=1e-3)


def test_weight_decay_is_that_of_adamw_and_none_is_adam(task: Task):
    plain, same, decayed = (
        make("bridge", task, {**BRIDGE, "learning_rate": 0.1, "batch_size": 1000, "weight_decay": decay})
        for decay in (0.0, 0.0, 0.5)
    )
    begin = decayed.bridge.A.detach().clone()
    for method in (plain, same, decayed):
        method.train_epoch()
    assert torch.equal(plain.bridge.A, same.bridge.A)
    assert torch.equal(plain.bridge.A, begin)  # B is zero: A has no gradient yet
    torch.testing.assert_close(decayed.bridge.A.detach(), begin * (1 - 0.1 * 0.5))


def test_standardised_inputs_cost_an_offset_and_are_folded_away(task: Task):
    method = make("bridge", task, {**BRIDGE, "standardise": True})
    method.train_epoch()
    windows = task.windows("new").take(task.indices("val"))
    torch.testing.assert_close(method.predict(windows), method.logits("val"), rtol=1e-3, atol=1e-4)
    plain = make("bridge", task, BRIDGE)
    assert method.trainable_parameters == plain.trainable_parameters + BRIDGE["rank"]
    assert method.stored_parameters == plain.stored_parameters + BRIDGE["rank"]
    x, mean, deviation = torch.randn(6, 4) * 3 + 1, torch.randn(4), torch.rand(4) + 0.5
    bridge = PrototypeBridge(5, 2, 3, 2, 4)
    torch.nn.init.normal_(bridge.B)
    taken = standardised(x, mean, deviation)
    torch.testing.assert_close(taken[:, :-1] * deviation + mean, x)
    torch.testing.assert_close(bridge.folded(mean, deviation)(x), bridge(taken), rtol=1e-4, atol=1e-5)


def test_a_regression_finds_the_map_that_a_bridge_of_its_rank_is():
    """Tokens that a bridge made are met again; of others the best of its rank is found, as NumPy's SVD has it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    truth = PrototypeBridge(6, tokens=3, d_old=5, rank=2, prototypes=4, generator=generator)
    torch.nn.init.normal_(truth.B, generator=generator)
    tokens = truth(x).detach().transpose(1, 2)
    found = PrototypeBridge(6, tokens=3, d_old=5, rank=2, prototypes=5, generator=generator)
    regress(found, x, tokens, 1e-2)
    error = float((found(x).transpose(1, 2) - tokens).square().mean() / tokens.square().mean())
    assert error < 1e-3  # but for the ridge
    noise = torch.randn(200, 3, 5, generator=generator)
    y = noise.flatten(1).double().numpy()
    design = x.double().numpy()
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    _, _, rows = np.linalg.svd(fitted, full_matrices=False)
    best = np.mean((fitted @ rows[:2].T @ rows[:2] - y) ** 2)
    full = PrototypeBridge(6, tokens=3, d_old=5, rank=2, prototypes=5, generator=generator)
    regress(full, x, noise, 1e-2)
    assert float((full(x).transpose(1, 2) - noise).square().mean()) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("penalty", [1e-6, 1.0, 1e6])
def test_a_penalty_turns_the_scores_and_does_not_shrink_what_is_made_of_them(penalty):
    rng = np.random.default_rng(1)
    x = np.c_[rng.standard_normal((100, 6)) * [3, 1, 1, 1, 1, 0.1], np.ones(100)]
    y = x[:, :4] @ rng.standard_normal((4, 10)) + rng.standard_normal((100, 10)) + 5
    held = penalty * np.mean(x**2) * np.diag([1.0] * 6 + [0.0])
    fitted = x @ np.linalg.solve(x.T @ x / 100 + held, x.T @ y / 100)
    left, _, _ = np.linalg.svd(fitted, full_matrices=False)
    expected = left[:, :3] @ left[:, :3].T @ y
    bridge = PrototypeBridge(7, tokens=2, d_old=5, rank=3, prototypes=5)
    regress(bridge, torch.from_numpy(x).float(), torch.from_numpy(y.reshape(100, 2, 5)).float(), penalty)
    found = bridge(torch.from_numpy(x).float()).transpose(1, 2).flatten(1).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("output", [0, 2, "head"])
def test_a_bridge_that_starts_from_the_regression_is_closer_from_the_start(task: Task, output):
    options = {**BRIDGE, "output": output, "objective": "pooled", "standardise": True, "learning_rate": 1e-9}
    first = {
        init: make("bridge", task, {**options, "init": init}).train_epoch().loss for init in ("rand", "regression")
    }
    assert first["regression"] < first["rand"]


def test_pairs_are_mixed_alike_and_features_left_out_by_seed():
    x = torch.arange(12.0).reshape(4, 3) + 1
    mixed, target = Perturbation(0.0, 0.4, seed=3)(x, 10 * x)
    torch.testing.assert_close(target, 10 * mixed)
    assert not torch.equal(mixed, x)
    again, _ = Perturbation(0.0, 0.4, seed=3)(x, x)
    assert torch.equal(mixed, again)
    many = torch.ones(2000, 10)
    kept, _ = Perturbation(0.25, 0.0, seed=3)(many, many)
    assert {0.0, 4 / 3} == {round(value, 6) for value in kept.unique().tolist()} or len(kept.unique()) == 2
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    assert Perturbation(0.0, 0.0, seed=3)(x, x)[0] is x


def test_late_weights_are_averaged():
    module, seen = torch.nn.Linear(2, 1), []
    averaging = Averaging(module, epochs=5)
    for epoch in range(5):
        torch.nn.init.constant_(module.weight, float(epoch))
        averaging.end_epoch()
        seen.append(float(averaging.current.weight[0, 0]))
    assert seen == [0.0, 1.0, 2.0, 2.5, 3.0]  # of the last three epochs


def test_a_state_goes_back_to_what_predicted(task: Task):
    method = make("bridge", task, {**BRIDGE, "averaging": True, "epochs": 4})
    for _ in range(3):
        method.train_epoch()
    state, logits = method.state(), method.logits("val")
    method.train_epoch()
    assert not torch.equal(method.logits("val"), logits)
    method.load_state(state)
    torch.testing.assert_close(method.logits("val"), logits)
