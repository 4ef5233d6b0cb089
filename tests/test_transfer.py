"""Methods on one small task: what is trained, what is frozen, what is read."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from baselines._student import Outputs, Student
from benchmark import registry
from benchmark.bridge.layout import to_block_input
from benchmark.bridge.objectives import LOSSES, rescale_large_gradients
from benchmark.bridge.population import Population
from benchmark.frozen.task import Task
from benchmark.registry import configure

BRIDGE = {
    "position": "searched",
    "objective": "published",
    "input": 1,
    "output": 1,
    "rank": 4,
    "prototypes": 8,
    "learning_rate": 1e-2,
    "epochs": 3,
    "batch_size": 4,
    "init": "rand",
    "loss": "cosine",
    "loss_at": "last_layer",
    "layout": "transpose",
    "compile": False,
    "autocast": "none",
}
KD = {"temperature": 2.0, "learning_rate": 1e-3, "batch_size": 8, "epochs": 2, "adapt": "full"}


def make(name: str, task: Task, options: dict[str, Any], seed: int = 0) -> Any:
    """A method with its options typed, as a trial makes it."""
    return registry.get(name)(task, registry.options_of(name, options), seed)


@pytest.fixture(scope="module")
def double(small) -> Task:
    """The task in float64, with weights that are nowhere zero."""
    task = Task(small, 0)
    _ = task.head  # fitted before weights change
    generator = torch.Generator().manual_seed(5)
    for encoder in (task.old, task.new):
        encoder.double()
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    task.head.double()
    task._features.clear()
    return task


@pytest.mark.parametrize("loss_at", ["last_layer", "bridge_output"])
@pytest.mark.parametrize("loss", LOSSES)
def test_training_from_the_store_is_the_plain_loop(double: Task, loss, loss_at):
    """50 steps; the plain loop runs both models at every step, as the released code does."""
    task = double
    method = make("bridge", task, {**BRIDGE, "loss": loss, "loss_at": loss_at}, seed=3)
    old, new, bridge = task.old, task.new, copy.deepcopy(method.bridge)
    optimizer = torch.optim.Adam(bridge.parameters(), lr=BRIDGE["learning_rate"])
    order = torch.Generator()
    order.set_state(method.generator.get_state())
    pair, steps = task.indices("pair"), 0
    while steps < 50:
        expected = []
        for rows in torch.randperm(len(pair), generator=order).split(BRIDGE["batch_size"]):
            windows = pair[rows.numpy()]
            with torch.no_grad():
                x = new.pool(new.run(new.embed(new.inputs(task.windows("new").take(windows))), 0, 2))
                entered = old.run(old.embed(old.inputs(task.windows("old").take(windows))), 0, 1)
                left = old.run(entered, 1, old.n_blocks)
            entered_by = to_block_input(old, bridge(x))
            if loss_at == "bridge_output":
                value = LOSSES[loss](entered_by, entered)
            else:
                value = LOSSES[loss](old.run(entered_by, 1, old.n_blocks), left)
            optimizer.zero_grad()
            value.backward()
            rescale_large_gradients(bridge)
            optimizer.step()
            expected.append(value.item())
        epoch = method.train_epoch()
        steps += epoch.steps
        assert epoch.loss == pytest.approx(np.mean(expected), rel=1e-9)


SIZES = ((2, 8, 1e-3), (16, 32, 3e-3), (4, 64, 1e-2))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("place", [(0, "last_layer"), (2, "last_layer"), (2, "bridge_output"), ("head", "last_layer")])
def test_a_population_is_trained_as_its_members_would_be_alone(double: Task, loss, place):
    output, loss_at = place
    options = [
        {**BRIDGE, "output": output, "loss": loss, "loss_at": loss_at, "rank": r, "prototypes": p, "learning_rate": lr}
        for r, p, lr in SIZES
    ]
    alone = [make("bridge", double, chosen, seed) for seed, chosen in enumerate(options)]
    members = [make("bridge", double, chosen, seed) for seed, chosen in enumerate(options)]
    population = Population(members)
    for _ in range(4):
        expected = [method.train_epoch() for method in alone]
        for one, other in zip(expected, population.train_epoch(), strict=True):
            assert (other.loss, other.steps) == (pytest.approx(one.loss, rel=1e-5), one.steps)
    for one, other in zip(alone, members, strict=True):
        torch.testing.assert_close(other.logits("val"), one.logits("val"), rtol=1e-5, atol=1e-7)


def test_members_of_a_population_share_their_position(task: Task):
    with pytest.raises(ValueError, match=r"shares its output, these members have \['1', '2'\]"):
        Population([make("bridge", task, {**BRIDGE, "output": output}, 0) for output in (1, 2)])


def test_autocast_runs_the_old_blocks_in_half_the_bits(task: Task):
    whole, half = make("bridge", task, BRIDGE, 0), make("bridge", task, {**BRIDGE, "autocast": "bfloat16"}, 0)
    losses = [[method.train_epoch().loss for _ in range(3)] for method in (whole, half)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert half.logits("val").dtype == torch.float32


@pytest.mark.parametrize("output", [0, 2, "head"])
@pytest.mark.parametrize("init", ["rand", "randreal"])
def test_only_the_bridge_is_trained(task: Task, output, init):
    before = {side: {n: t.clone() for n, t in task.encoder(side).state_dict().items()} for side in ("old", "new")}
    method = make("bridge", task, {**BRIDGE, "output": output, "init": init}, seed=0)
    start = method.state()
    method.train_epoch()
    assert any(not torch.equal(start[name], value) for name, value in method.state().items())
    for side, state in before.items():
        assert all(torch.equal(state[name], value) for name, value in task.encoder(side).state_dict().items())
        assert all(p.grad is None for p in task.encoder(side).parameters())


def test_a_bridge_at_the_head_runs_no_old_block(task: Task, monkeypatch):
    monkeypatch.setattr(type(task.old), "run", lambda *_: pytest.fail("an old block ran"))
    method = make("bridge", task, {**BRIDGE, "output": "head"}, seed=0)
    method.train_epoch()
    assert method.logits("val").shape == (len(task.indices("val")), 3)


SHAPES = {
    "wesad_ppg2ecg": ("data.condition_seconds=90",),
    "wesad_ecg2ppg": ("data.condition_seconds=90",),
    "isruc_eeg2ecg": ("data.condition_seconds=240",),
    "fog_emg2eeg": ("data.condition_seconds=12",),
}


@pytest.mark.parametrize("direction", SHAPES)
def test_a_bridge_joins_every_block_of_every_encoder(direction, tmp_path_factory):
    """PaPaGei's blocks, which differ in width and length, among them."""
    words = [f"experiment={direction}", "data=simulated", *SHAPES[direction], "data.subjects=5", "data.split.train=2"]
    words += [f"data.split.{part}=1" for part in ("val", "pair", "test")]
    words += [f"cache={tmp_path_factory.mktemp(direction)}", "old.weights=random", "new.weights=random"]
    task = Task(configure(words), 0)
    n_new, n_old = task.new.n_blocks, task.old.n_blocks
    for i, output in [(i, "head") for i in range(n_new)] + [(0, j) for j in range(n_old)]:
        method = make("bridge", task, {**BRIDGE, "input": i, "output": output, "batch_size": 64}, seed=0)
        before = method.state()
        assert np.isfinite(method.train_epoch().loss)
        assert not torch.equal(method.state()["B"], before["B"])
        logits = method.logits("test")
        assert logits.shape == (len(task.indices("test")), task.n_classes)
        assert torch.isfinite(logits).all()


def test_randreal_prototypes_are_tokens_of_the_block_that_is_entered(task: Task):
    method = make("bridge", task, {**BRIDGE, "init": "randreal"}, seed=0)
    tokens = task.old.to_tokens(task.block_input("pair", 1).all()).flatten(0, 1)
    for prototype in method.bridge.prototypes.detach().T:
        assert (tokens == prototype).all(dim=1).any()


@pytest.mark.parametrize("output", [0, 2, "head"])
def test_training_lowers_the_loss(task: Task, output):
    """Untrained layer norms have no biases: the worst case for a bridge whose first output is zero."""
    method = make("bridge", task, {**BRIDGE, "output": output, "prototypes": 32, "rank": 8}, seed=0)
    first = method.train_epoch().loss
    for _ in range(20):
        last = method.train_epoch().loss
    assert last < 0.7 * first


@pytest.mark.parametrize(
    ("name", "options"),
    [("bridge", BRIDGE), ("bridge", {**BRIDGE, "output": "head"}), ("kd_logits", KD), ("oracle_probe", {})],
)
def test_a_device_would_predict_what_the_evaluation_does(task: Task, name, options):
    method = make(name, task, options)
    if method.n_epochs:
        method.train_epoch()
    windows = task.windows("new").take(task.indices("test"))
    torch.testing.assert_close(method.predict(windows), method.logits("test"), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), [("bridge", BRIDGE), ("kd_logits", KD)])
def test_transfer_methods_learn_without_labels(task: Task, name, options):
    blind = task.unlabelled()
    assert set(blind.data.label) == set(blind.features("new").data.label) == {-1}
    with pytest.raises(RuntimeError, match="no transfer method may read"):
        blind.labels("val")
    seen, unseen = make(name, task, options), make(name, blind, options)
    assert seen.train_epoch() == unseen.train_epoch()
    assert torch.equal(seen.logits("val"), unseen.logits("val"))


def test_a_student_is_the_whole_new_model_and_a_head(task: Task):
    """Its trainable parameters are those that a gradient reaches; a final norm or a decoder is declared and idle."""
    student = make("kd_logits", task, KD, 0)
    assert isinstance(student, Student)
    width = task.new.shape_at(task.new.n_blocks)[1]
    assert student.declared_parameters == sum(p.numel() for p in task.new.parameters()) + 3 * width + 3
    before = task.new.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    student.train_epoch()
    assert all(torch.equal(before[name], tensor) for name, tensor in task.new.state_dict().items())
    reached = sum(p.numel() for p in student.model.parameters() if p.grad is not None)
    assert student.trainable_parameters == reached < student.declared_parameters


def test_both_counts_of_a_teacher_are_those_of_its_training(task: Task, monkeypatch):
    probe = make("teacher", task, {})
    assert probe.trainable_parameters == probe.declared_parameters == sum(p.numel() for p in task.head.parameters())
    options = task.config.teacher.model_copy(update={"training": "finetune"})
    monkeypatch.setattr(task, "config", task.config.model_copy(update={"teacher": options}))
    tuned = make("teacher", task, {})
    old = copy.deepcopy(task.old).requires_grad_(True)
    inputs = old.inputs(task.windows("old").take(task.indices("train")[:2]))
    task.head(old.pool(old(inputs))).sum().backward()
    reached, every = (sum(p.numel() for p in old.parameters() if p.grad is not None or all_) for all_ in (False, True))
    assert tuned.trainable_parameters - probe.trainable_parameters == reached < every
    assert tuned.declared_parameters - probe.declared_parameters == every


def test_soft_targets_at_high_temperature_pull_less_than_hard_ones(task: Task):
    method = make("kd_logits", task, KD, 0)
    rows = torch.arange(5)
    teacher = task.teacher_logits("pair")[rows]
    assert float(method.batch_loss(Outputs(teacher, ()), rows)) == pytest.approx(0, abs=1e-6)
    p, q = (teacher / 2).softmax(1).double(), torch.full((5, 3), 1 / 3, dtype=torch.float64)
    expected = 4 * float((p * (p / q).log()).sum(1).mean())
    assert float(method.batch_loss(Outputs(torch.zeros(5, 3), ()), rows)) == pytest.approx(expected, rel=1e-5)


def test_stored_parameters_leave_out_blocks_that_never_run(task: Task):
    low = make("bridge", task, {**BRIDGE, "input": 0, "output": "head"}, seed=0)
    high = make("bridge", task, {**BRIDGE, "input": task.new.n_blocks - 1, "output": 0}, seed=0)
    assert low.stored_parameters < high.stored_parameters
    total = sum(p.numel() for side in ("old", "new") for p in task.encoder(side).parameters())
    assert high.stored_parameters < total + high.trainable_parameters + 1000
