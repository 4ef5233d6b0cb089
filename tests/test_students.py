"""Students of distillation: what is frozen stays as it is, counts are arithmetic, options and plan know them all."""

from typing import Any

import numpy as np
import optuna
import pytest
import torch

from baselines._adapt import Adaptation
from benchmark import registry
from benchmark.errors import InputError
from benchmark.frozen.task import Task
from benchmark.frozen.weights import Shapes
from benchmark.plan import Spec
from benchmark.registry import configure
from benchmark.results import schema
from benchmark.search.space import recorded_space
from tests.conftest import SMALL, run_final
from tests.test_transfer import KD, make

STUDENTS: dict[str, dict[str, Any]] = {
    "kd_logits": KD,
    "kd_decoupled": {**KD, "beta": 3.0},
    "kd_dist": {**KD, "gamma": 2.0},
    "kd_features": {**KD, "student_block": 5, "teacher_block": 2, "beta": 0.7},
    "kd_contrast": {**KD, "beta": 0.7, "dimension": 5},
    "kd_relational": {**KD, "beta": 0.7},
    "kd_stages": {**KD, "gamma": 1.5, "stages": 3},
    "kd_crossmodal": {**KD, "beta": 0.7},
}
ADAPTS: list[dict[str, Any]] = [{"adapt": "last_k", "last": 2}, {"adapt": "lora", "lora_rank": 4}, {"adapt": "head"}]
EVERY = [*STUDENTS.items(), *(("kd_logits", {**KD, **adapt}) for adapt in ADAPTS)]


def test_every_student_is_tested():
    assert set(STUDENTS) == {name for name in registry.names() if name.startswith("kd_")}


DIRECTIONS = {
    "hubert_ecg": ("wesad_ppg2ecg", "data.condition_seconds=90"),
    "papagei": ("wesad_ecg2ppg", "data.condition_seconds=90"),
    "labram": ("fog_emg2eeg", "data.condition_seconds=12"),
    "normwear": ("fog_eeg2emg", "data.condition_seconds=12"),
}
RANK, HUBERT, LABRAM, NORMWEAR = 4, 48, 40, 48
PAPAGEI_CONVOLUTIONS = [(16, 16)] * 8 + [(16, 32)] + [(32, 32)] * 7  # in and out, two a block, kernels of 5
LORA_COUNT = {
    # (in + out) / width of a layer: q, k, v and projection, or a threefold one and projection, and two of the MLP
    "hubert_ecg": RANK * 4 * HUBERT * (4 * 2 + 2 * 5),
    "labram": RANK * 4 * LABRAM * (4 + 2 + 2 * 5),
    "normwear": RANK * (4 + 2) * NORMWEAR * (4 + 2 + 2 * 5),  # two of four blocks have a second transformer block
    "papagei": RANK * sum(5 * n_in + n_out for n_in, n_out in PAPAGEI_CONVOLUTIONS),
}
LAST_COUNT = {  # of the last two blocks
    "hubert_ecg": 2 * (12 * HUBERT**2 + 13 * HUBERT),
    "labram": 2 * (12 * LABRAM**2 + 12 * LABRAM + 4 * LABRAM // 4),  # no bias of q, k, v; two norms a head; two scales
    "normwear": 3 * (12 * NORMWEAR**2 + 13 * NORMWEAR),
    "papagei": 2 * 2 * (5 * 32 * 32 + 32 + 2 * 32),
}


@pytest.fixture(scope="module", params=DIRECTIONS)
def of_encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task whose student is the tiny preset of each encoder."""
    direction, seconds = DIRECTIONS[request.param]
    words = [f"experiment={direction}", "data=simulated", seconds, "data.subjects=4", "data.split.train=1"]
    words += [f"data.split.{part}=1" for part in ("val", "pair", "test")]
    words += [f"cache={tmp_path_factory.mktemp(direction)}", "old.weights=random", "new.weights=random"]
    made = Task(configure([*words, "teacher.solver=adam", "teacher.training=probe"]), 0)
    assert made.new.name == request.param
    return made


@pytest.mark.parametrize("adapt", ADAPTS, ids=lambda adapt: adapt["adapt"])
def test_what_is_frozen_is_frozen_and_what_is_trained_is_counted(of_encoder: Task, adapt: dict[str, Any]):
    task = of_encoder
    before = {name: value.clone() for name, value in task.new.state_dict().items()}
    student = make("kd_logits", task, {**KD, **adapt, "batch_size": 64, "learning_rate": 1e-2})
    start = student.state()
    assert np.isfinite(student.train_epoch().loss)
    student.train_epoch()
    trained = student.encoder.block_names[-2:] if adapt["adapt"] == "last_k" else ()
    moved = set()
    for name, value in student.encoder.state_dict().items():
        original = name.replace(".base_layer.", ".")
        if "lora_" in name or name.startswith(tuple(f"{block}." for block in trained)):
            moved |= {name} if not torch.equal(value, start[f"encoder.{name}"]) else set()
        else:
            assert torch.equal(value, before[original]), name
    assert bool(moved) == (adapt["adapt"] != "head")
    assert all(torch.equal(value, before[name]) for name, value in task.new.state_dict().items())
    inside = {id(module) for block in student.in_training for module in block.modules()}
    student.train_epoch()
    assert all(module.training == (id(module) in inside) for module in student.encoder.modules())

    head = (task.new.shape_at(task.new.n_blocks)[1] + 1) * task.n_classes
    counts = {"last_k": LAST_COUNT[task.new.name], "lora": LORA_COUNT[task.new.name], "head": 0}
    assert student.trainable_parameters == counts[adapt["adapt"]] + head
    assert student.declared_parameters == student.trainable_parameters
    reached = sum(p.numel() for p in student.model.parameters() if p.grad is not None)
    assert reached == student.trainable_parameters
    full = make("kd_logits", task, KD)
    assert student.stored_parameters - full.stored_parameters == (counts["lora"] if adapt["adapt"] == "lora" else 0)
    torch.testing.assert_close(
        student.predict(task.windows("new").take(task.indices("test"))), student.logits("test"), rtol=1e-3, atol=1e-4
    )


def test_adapters_begin_as_nothing(of_encoder: Task):
    adapted = make("kd_logits", of_encoder, {**KD, "adapt": "lora", "lora_rank": 2})
    frozen = make("kd_logits", of_encoder, {**KD, "adapt": "head"})
    torch.testing.assert_close(adapted.logits("val"), frozen.logits("val"), rtol=1e-4, atol=1e-5)


# -- trials and options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_student_trains_in_a_trial_and_gives_a_whole_row(task: Task, name: str, options: dict[str, Any]):
    row, again = (
        run_final(task.config, Spec(name, "final", "x", 0, 0, {**options, "epochs": 1}), "simulated")[0]
        for _ in range(2)
    )
    assert row["status"] == "done", row["error"]
    columns = schema.row_schema([registry.get(name).card()])
    assert dict(schema.frame([row], columns).schema) == columns
    assert row["val_divergence"] == again["val_divergence"]
    method = make(name, task, options)
    assert row["trainable_parameters"] == method.trainable_parameters
    assert row["adapt"] == str(Adaptation.of(registry.options_of(name, options)))  # type: ignore[arg-type]
    method.train_epoch()
    trained = (*method.model.parameters(), *method.helpers.parameters())
    assert sum(p.numel() for p in trained if p.grad is not None) == method.trainable_parameters
    helpers = sum(p.numel() for p in method.helpers.parameters())
    plain = make("kd_logits", task, {key: options[key] for key in options.keys() & {*KD, "last", "lora_rank"}})
    assert method.trainable_parameters - helpers == plain.trainable_parameters
    assert method.stored_parameters == plain.stored_parameters
    assert not any("helpers" in key for key in method.state())


@pytest.mark.parametrize("name", STUDENTS)
def test_helpers_begin_with_the_seed_and_are_trained_along(task: Task, name: str):
    first, again, other = (make(name, task, STUDENTS[name], seed) for seed in (3, 3, 4))
    first.train_epoch(), again.train_epoch()
    begun = make(name, task, STUDENTS[name], 3).helpers.parameters()
    helpers = zip(*(m.helpers.parameters() for m in (first, again, other)), begun, strict=True)
    for one, two, three, start in helpers:
        assert torch.equal(one, two)
        assert not torch.equal(start, three)
        assert not torch.equal(one, start)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("adapt", ADAPTS[1:], ids=lambda adapt: adapt["adapt"])
def test_a_loss_reads_the_blocks_that_it_asks_for(task: Task, name: str, adapt: dict[str, Any]):
    """Adapters begin as nothing, so that what is stored of the frozen encoder is what its blocks give."""
    method, rows = make(name, task, {**STUDENTS[name], **adapt}), torch.arange(5)
    pooled, n = method.pooled(rows), task.new.n_blocks
    assert len(pooled) == (n if name in ("kd_features", "kd_stages") else 1)
    for found, block in zip(pooled, range(n + 1 - len(pooled), n + 1), strict=True):
        torch.testing.assert_close(found, task.pooled("new", "pair", block)[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STUDENTS)
def test_the_plan_knows_every_size(task: Task, name: str):
    blocks = Shapes(task.old, task.new, task.n_classes).blocks
    options = task.config.method_options[name].model_dump()
    space = recorded_space(registry.search_space(name), options, blocks)
    sizes = {size.where: size for size in registry.get(name).sizes(task.old, task.new, task.n_classes, space)}
    assert len(sizes) == 4
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(24):
        trial = study.ask()
        registry.search_space(name).space(trial, blocks)
        found = registry.options_of(name, trial.params)
        assert (found.last is None, found.lora_rank is None) == (found.adapt != "last_k", found.adapt != "lora")
        if (found.adapt, found.last, found.lora_rank) in seen:
            continue
        seen.add((found.adapt, found.last, found.lora_rank))
        made = registry.get(name)(task, found, 0)
        size = sizes[made.adaptation.place]
        assert size.least <= made.trainable_parameters <= size.most
        assert size.least < size.most or found.adapt in ("full", "head")
    assert len({adapt for adapt, *_ in seen}) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kd_logits.lora_rank=0"], "kd_logits.lora_rank=0 cannot be used; give a whole number of at least 1"),
        (["kd_logits.adapt=lorra"], "kd_logits.adapt=lorra cannot be used; give one of full, last_k, lora, head"),
        (["kd_logits.adapt=full", "kd_logits.last=2"], "last=2 says nothing with kd_logits.adapt=full; leave it out"),
        (["methods=[kd_dist]", "kd_dist.batch_size=1"], "kd_dist.batch_size=1 cannot be used; .* give at least 2"),
        (["methods=[kd_relational]", "kd_relational.batch_size=2"], "windows of a batch, give at least 3"),
        (["kd_logits.last=9"], "kd_logits.last=9 cannot be used; .* 1 to 8"),
        (["methods=[kd_features]", "kd_features.teacher_block=4"], "teacher_block=4 .* old encoder, 0 to 3"),
    ],
)
def test_options_that_cannot_be(task: Task, words: list[str], said: str):
    blocks = Shapes(task.old, task.new, task.n_classes).blocks

    def check() -> None:
        config = configure([*SMALL, *words])
        for name in config.methods:
            config.method_options[name].check(config, blocks)

    with pytest.raises(InputError, match=said):
        check()
