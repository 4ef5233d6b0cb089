"""Translation: its losses are their formulae, its generator takes any two signals, and the old model stays frozen."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from baselines.translate import SLOPE, Generator
from benchmark import registry
from benchmark.data.signals.spec import SignalSpec
from benchmark.errors import InputError
from benchmark.frozen.task import Task
from benchmark.frozen.weights import Shapes
from benchmark.plan import Spec
from benchmark.registry import configure
from benchmark.search.space import recorded_space
from benchmark.trial.metrics import agreement
from tests.conftest import SMALL, run_final
from tests.test_transfer import SHAPES, make

POINT: dict[str, Any] = {"width": 8, "depth": 3, "learning_rate": 3e-3, "adversarial": 0.1, "epochs": 1}
ALONE: dict[str, Any] = {**POINT, "adversarial": 0.0}


def z_scores(task: Task, side: Any, split: str = "pair") -> np.ndarray:
    """From all windows at once."""
    of_pair, x = (task.windows(side).take(task.indices(part)).astype(float) for part in ("pair", split))
    return (x - of_pair.mean((0, 2))[:, None]) / of_pair.std((0, 2))[:, None]


@pytest.fixture(scope="module")
def same(task: Task) -> Task:
    """A task whose new modality is the old one."""
    twin = task.noting()
    twin.__dict__["new"], twin.data = task.old, replace(task.data, new=task.data.old)
    return twin


@torch.no_grad()
def test_a_generator_that_is_the_identity_gives_the_teachers_logits(same: Task):
    """Two channels carry x through leaky ReLUs: leaky(x) - leaky(-x) = (1 + slope) x."""
    method = make("translate", same, {**ALONE, "width": 2, "depth": 1})
    for parameter in method.generator.parameters():
        parameter.zero_()
    method.generator.first.weight[:, 0, 2] = torch.tensor([1.0, -1.0])
    method.generator.up[0].weight[:, 2:, 2] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    method.generator.last.weight[0, :, 2] = torch.tensor([1.0, -1.0]) / (1 + SLOPE) ** 2
    windows = same.windows("old").take(same.indices("test"))
    np.testing.assert_allclose(method.translated(windows), windows, atol=1e-5)
    torch.testing.assert_close(method.logits("test"), same.teacher_logits("test"), rtol=1e-3, atol=1e-4)


def test_where_both_modalities_are_one_training_reaches_the_teacher(same: Task):
    method = make("translate", same, {**ALONE, "depth": 2, "learning_rate": 1e-2, "batch_size": 4})

    def agreements() -> list[float]:
        return [agreement(method.logits(split), same.teacher_logits(split)) for split in ("pair", "test")]

    assert max(agreements()) < 0.7
    for _ in range(60):
        method.train_epoch()
    assert min(agreements()) >= 0.9


def test_the_losses_are_their_formulae(task: Task):
    """One step over all of pair: the discriminator's first, and the generator then hears the discriminator after it."""
    n = len(task.indices("pair"))
    for options in (ALONE, POINT):
        method = make("translate", task, {**options, "batch_size": n})
        x, y = (torch.from_numpy(z_scores(task, side)).float() for side in ("new", "old"))
        made, critic = method.generator(x).detach(), copy.deepcopy(method.discriminator)
        expected = np.abs(made.numpy() - y.numpy()).mean()
        if critic is not None:
            true, false = (critic(windows).detach().numpy() for windows in (y, made))
            judged = ((true - 1) ** 2).mean() / 2 + (false**2).mean() / 2
            assert method.discriminator_loss(made, y).item() == pytest.approx(judged, rel=1e-4)
            adam = torch.optim.Adam(critic.parameters(), lr=options["learning_rate"])
            method.discriminator_loss(made, y).backward()
            for mine, theirs in zip(critic.parameters(), method.discriminator.parameters(), strict=True):
                mine.grad = theirs.grad
            adam.step()
            expected += 0.1 * ((critic(made).detach().numpy() - 1) ** 2).mean() / 2
        epoch = method.train_epoch()
        assert epoch.loss == pytest.approx(expected, rel=1e-4)
        assert (epoch.steps, epoch.windows) == (1, n)
        if critic is not None:
            for mine, theirs in zip(critic.parameters(), method.discriminator.parameters(), strict=True):
                torch.testing.assert_close(mine, theirs)


def test_training_lowers_the_error_and_leaves_all_else_alone(task: Task):
    """Both frozen models are bit-identical afterwards; what is kept, and goes back, is the generator."""
    blind = task.unlabelled()
    before = {side: copy.deepcopy(task.encoder(side).state_dict()) for side in ("old", "new")}
    method = make("translate", blind, POINT)
    start, first = method.state(), method.train_epoch().loss
    losses = [method.train_epoch().loss for _ in range(10)]
    assert losses[-1] < first
    for side, state in before.items():
        assert all(torch.equal(state[name], value) for name, value in task.encoder(side).state_dict().items())
        assert all(p.grad is None for p in (*task.encoder(side).parameters(), *task.head.parameters()))
    logits, kept = method.logits("val"), method.state()
    method.load_state(start)
    assert not torch.equal(method.logits("val"), logits)
    method.load_state(kept)
    assert torch.equal(method.logits("val"), logits)
    assert set(kept) == set(method.generator.state_dict())


def test_a_seed_says_it_all(task: Task):
    first, again, other = (make("translate", task, POINT, seed) for seed in (3, 3, 4))
    first.train_epoch()
    torch.manual_seed(99)
    torch.rand(5)
    begun = make("translate", task, ALONE, 3).generator
    assert all(map(torch.equal, begun.parameters(), again.generator.parameters()))  # with a discriminator and without
    again.train_epoch(), other.train_epoch()
    orders = [method.order.get_state() for method in (first, again, other)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    for module in ("generator", "discriminator"):
        trained = [list(getattr(method, module).parameters()) for method in (first, again, other)]
        assert all(map(torch.equal, trained[0], trained[1]))
        assert not any(map(torch.equal, trained[0], trained[2]))


def test_counts_are_arithmetic(task: Task):
    """Both signals of one channel; every convolution takes five samples and has a bias."""
    made, alone = make("translate", task, POINT), make("translate", task, ALONE)
    generator = (5 * 8 + 8) + 3 * (5 * 8 * 8 + 8) + 3 * (5 * 16 * 8 + 8) + (5 * 8 + 1)
    discriminator = (5 * 8 + 8) + 2 * (5 * 8 * 8 + 8) + (5 * 8 + 1)
    assert alone.discriminator is None
    assert (alone.trainable_parameters, made.trainable_parameters) == (generator, generator + discriminator)
    assert made.declared_parameters == made.trainable_parameters
    assert made.stored_parameters == alone.stored_parameters == generator + make("teacher", task, {}).stored_parameters
    made.train_epoch()
    reached = (p for module in (made.generator, made.discriminator) for p in module.parameters() if p.grad is not None)
    assert sum(p.numel() for p in reached) == made.trainable_parameters


def test_the_plan_knows_every_size(task: Task):
    kind, blocks = registry.get("translate"), Shapes(task.old, task.new, task.n_classes).blocks
    space = recorded_space(registry.search_space("translate"), {}, blocks)
    (size,) = kind.sizes(task.old, task.new, task.n_classes, space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(60):
        trial = study.ask()
        registry.search_space("translate").space(trial, blocks)
        seen.add(make("translate", task, trial.params).trainable_parameters)
    assert (min(seen), max(seen)) == (size.least, size.most)
    assert not kind.saves


@pytest.mark.parametrize("direction", ["isruc_eeg2ecg", "fog_emg2eeg"])
def test_channels_rates_and_units_may_differ(direction: str, tmp_path_factory: pytest.TempPathFactory):
    words = [f"experiment={direction}", "data=simulated", *SHAPES[direction], "data.subjects=5", "data.split.train=2"]
    words += [f"data.split.{part}=1" for part in ("val", "pair", "test")]
    words += [f"cache={tmp_path_factory.mktemp(direction)}", "old.weights=random", "new.weights=random"]
    task = Task(configure(words), 0)
    assert task.windows("old").spec.n_channels != task.windows("new").spec.n_channels
    method = make("translate", task, POINT)
    for side in ("old", "new"):
        x = method.standardised(side, task.windows(side).take(task.indices("val")))
        np.testing.assert_allclose(x.numpy(), z_scores(task, side, "val"), rtol=1e-3, atol=1e-4)
    assert np.isfinite(method.train_epoch().loss)
    windows = task.windows("new").take(task.indices("test"))
    made, true = method.translated(windows), task.windows("old").take(task.indices("test"))
    assert (made.shape, made.dtype) == (true.shape, true.dtype)
    with torch.no_grad():
        loss = np.abs(z_scores(task, "old", "test") - method.generator(method.standardised("new", windows)).numpy())
    np.testing.assert_allclose(
        np.abs(made - true).mean((0, 2)), loss.mean((0, 2)) * method.moments["old"][1][:, 0].numpy(), rtol=1e-3
    )
    torch.testing.assert_close(method.predict(windows), method.logits("test"), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("depth", [1, 7, 16])
@pytest.mark.parametrize(("n_new", "n_old"), [(1250, 1000), (37, 101), (1, 2), (5, 5)])
def test_no_depth_is_too_deep_for_a_window(depth: int, n_new: int, n_old: int):
    new, old = SignalSpec("ppg", ("a",), 125.0, n_new, "z"), SignalSpec("eeg", ("a", "b", "c"), 100.0, n_old, "uV")
    assert Generator(new, old, 2, depth)(torch.randn(2, 1, n_new)).shape == (2, 3, n_old)


def test_a_channel_that_never_moves_stays_where_it_is(same: Task):
    class Still(type(same.windows("old"))):  # type: ignore[misc]
        def take(self, indices: np.ndarray) -> np.ndarray:
            return np.full_like(super().take(indices), 0.1)

    still = copy.copy(same)
    windows = copy.copy(same.windows("old"))
    windows.__class__ = Still
    still.data = replace(same.data, old=windows, new=windows)
    method = make("translate", still, ALONE)
    assert method.train_epoch().loss < 1
    assert np.abs(method.translated(windows.take(still.indices("test"))) - 0.1).max() < 1e-6


def test_a_trial_gives_a_whole_row(task: Task):
    row, predicted = run_final(task.config, Spec("translate", "final", "x", 0, 0, POINT), "simulated")
    assert row["status"] == "done", row["error"]
    assert set(predicted["prediction"]) <= set(range(task.n_classes))
    assert row["inference_seconds_per_window"] > 0


def test_it_is_asked_for_by_name_and_refuses_what_cannot_be():
    assert "translate" in configure(["methods=all"]).methods
    assert "translate" not in configure([]).methods
    for word, said in (
        ("width=0", "a whole number of at least 1 and at most 1024"),
        ("depth=17", "a whole number of at least 1 and at most 16"),
        ("adversarial=-0.1", "a number of at least 0"),
        ("learning_rate=0", "a number above 0"),
    ):
        with pytest.raises(InputError, match=rf"translate\.{word} cannot be used; give {said}"):
            configure([*SMALL, f"translate.{word}"])
