"""A GPU computes what the CPU does, within stated tolerances: encoders, extraction, every method's step, DeepSpeed.

On a machine without one the same comparisons run with the CPU on both sides, which says that they compare.
"""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from baselines._deepspeed import Recipe, Workers
from benchmark import registry
from benchmark.cluster.session import session
from benchmark.config.cluster import LocalCluster
from benchmark.encoders import registry as encoders
from benchmark.frozen.task import Task
from benchmark.perf import gpu
from benchmark.plan import Spec
from benchmark.registry import configure
from benchmark.trial.trial import Trial, together
from tests.conftest import SMALL
from tests.test_closed_form import POINTS
from tests.test_encoders_contract import example_windows
from tests.test_students import ADAPTS, STUDENTS
from tests.test_transfer import BRIDGE, KD, make
from tests.test_translate import POINT as TRANSLATE

HERE = torch.cuda.is_available()
SAME = 1e-4
"""Of what a forward gives, relative to the largest value: sums in another order, without TensorFloat-32."""
TRAINED = 2e-2
"""Of a loss after some epochs of training."""
HALF = 5e-2
"""Of a loss in bfloat16."""
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("bridge", BRIDGE),
    ("bridge", {**BRIDGE, "objective": "both", "init": "regression", "standardise": True}),
    ("oracle_finetune", {"epochs": 2}),
    ("translate", TRANSLATE),
    *((name, options) for name, options in STUDENTS.items()),
    *(("kd_logits", {**KD, **adapt}) for adapt in ADAPTS),
    *((name, options) for name, options in POINTS.items()),
]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("cpu"),
        pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="needs a GPU")]),
    ],
)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def there(device: str, small: Any, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The task on the device, where all is computed anew, with the CPU's teacher: whether one is fitted alike is
    another question than whether it is listened to alike."""
    folder = tmp_path_factory.mktemp(device)
    _ = task.head
    other = Task(configure([*SMALL, f"device={device}", f"results={folder}/results", f"cache={folder}/cache"]), 0)
    old = other._pretrained_old
    head = torch.nn.Linear(task.head.in_features, task.head.out_features).to(old.device, old.dtype)
    head.load_state_dict(task.head.state_dict())
    other.__dict__["_teacher"] = (old, head.requires_grad_(False))
    return other


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    found = found.detach().cpu()
    return float((found - expected).abs().max()) <= SAME * float(expected.abs().max())


@pytest.mark.parametrize("name", encoders.names())
def test_every_block_of_an_encoder_is_the_same(device: str, name: str) -> None:
    signal = encoders.encoder_class(name).example
    windows = example_windows(signal)
    here, other = (encoders.build(name, signal, seed=1, device=where) for where in ("cpu", device))
    with torch.no_grad():
        expected, found = (one.block_outputs(one.inputs(windows)) for one in (here, other))
    assert all(hidden.device.type == device for hidden in found)
    assert all(close(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("side", ["old", "new"])
def test_what_is_stored_is_the_same(device: str, there: Task, task: Task, side: Any) -> None:
    for block in range(task.encoder(side).n_blocks + 1):
        assert close(there.pooled(side, "pair", block), task.pooled(side, "pair", block))
    if side == "old":
        assert close(there.last("val").all(), task.last("val").all())
        assert close(there.block_input("val", 1).all(), task.block_input("val", 1).all())
        assert close(there.teacher_logits("val"), task.teacher_logits("val"))


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_every_method_trains_to_the_same_loss(there: Task, task: Task, name: str, options: dict[str, Any]) -> None:
    trials = [Trial(where, Spec(name, "search", f"{name}-000", 0, 0, options)) for where in (there, task)]
    for trial in trials:
        for _ in trial.epochs():
            pass
    found, expected = trials
    assert found.row()["status"] == expected.row()["status"] == "done"
    if expected.method.n_epochs:
        assert found.loss == pytest.approx(expected.loss, rel=TRAINED, abs=TRAINED)
    differ = (found.method.logits("val").argmax(1).cpu() != expected.method.logits("val").argmax(1)).float().mean()
    assert differ <= 0.1  # windows between two classes
    raw = task.windows("new").take(task.indices("val")[:3])
    if (said := found.method.predict(raw)) is not None:
        assert said.device.type == there.device.type


def test_members_of_a_population_train_alike(there: Task, task: Task) -> None:
    losses = []
    for where in (there, task):
        specs = [Spec("bridge", "search", f"bridge-{k}", 0, k, {**BRIDGE, "population": 2}) for k in range(2)]
        trials = [Trial(where, spec) for spec in specs]
        for _ in together(trials):
            pass
        losses.append([trial.loss for trial in trials])
    assert losses[0] == pytest.approx(losses[1], rel=TRAINED)


def test_deepspeed_trains_on_one_gpu_in_bfloat16(device: str, there: Task, task: Task) -> None:
    """One worker, which is DeepSpeed's own loop all the same, beside PyTorch's in float32 on the CPU."""
    options = {**STUDENTS["kd_logits"], "zero": 2, "bf16": True}
    plain, student = make("kd_logits", task, STUDENTS["kd_logits"]), make("kd_logits", there, options)
    _ = there.prepared("pair")
    order = torch.randperm(student.n, generator=torch.Generator().manual_seed(0))
    cluster = LocalCluster(cpus=1, gpus=1 if device == "cuda" else 0)
    with session(cluster):
        config = there.config.model_copy(update={"cluster": cluster})
        asked = replace(Recipe.of(type(student), there, registry.options_of("kd_logits", options), 0), config=config)
        workers = Workers(asked)
        try:
            trained = workers.train_epoch(order, [])
        finally:
            workers.close()
    plain.generator.manual_seed(0)
    assert trained.loss / trained.steps == pytest.approx(plain.train_epoch().loss, rel=HALF)


@pytest.mark.skipif(HERE, reason="needs a machine without a GPU")
def test_make_gpu_says_that_there_is_none() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmark.perf.gpu"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (gpu.NO_GPU, "")
    assert done.stderr.startswith("No GPU on this machine (torch ")
    assert done.stderr.count("\n") == 1
