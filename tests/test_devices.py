"""What computes on a GPU mixes no devices. Torch's meta device stands in for one: its kernels check that too."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from benchmark import registry
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import finetune, fit_head
from benchmark.plan import Spec
from benchmark.trial.trial import Trial, together
from tests.conftest import changed
from tests.test_closed_form import POINTS
from tests.test_students import ADAPTS, STUDENTS
from tests.test_transfer import BRIDGE, KD
from tests.test_translate import POINT as TRANSLATE

META = torch.device("meta")
aten = torch.ops.aten


def zeros(value: Any) -> Any:
    """Values on the CPU for what has none."""
    return torch.zeros_like(value, device="cpu") if isinstance(value, Tensor) and value.device == META else value


class Meta(TorchDispatchMode):
    """Gives values where the device, which has none, must: to read one, to copy them to the CPU, to count them."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = function is aten._to_copy.default and torch.device(kwargs.get("device") or META) != META
        if leaves or function is aten._local_scalar_dense.default:
            return function(*map(zeros, args), **kwargs)
        if function in (aten._unique2.default, aten.bincount.default) and args[0].device == META:
            return tree_map_only(Tensor, lambda value: value.to(META), function(*map(zeros, args), **kwargs))
        return function(*args, **kwargs)


class OnMeta(Task):
    """A task whose encoders compute on the meta device; what is mapped from disk is in memory, as with a GPU."""

    def __init__(self, task: Task):
        _ = task.features("old"), task.features("new")  # of the real encoders
        self.__dict__ |= copy.copy(task).__dict__
        self.__dict__ |= {"device": META, "new": copy.deepcopy(task.new).to(META)}
        encoder, head = task.old, task.head
        self.__dict__ |= {"_pretrained_old": copy.deepcopy(encoder).to(META)}
        self.__dict__ |= {"_teacher": (self._pretrained_old, copy.deepcopy(head).to(META))}

    def pooled(self, *where: Any) -> Tensor:
        return super().pooled(*where).to(META)


@pytest.fixture
def on_meta(task: Task, monkeypatch: pytest.MonkeyPatch) -> OnMeta:
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, fused=None, **k: adam(*a, **k))  # there is no fused one
    return OnMeta(task)


OPTIONS: dict[str, dict[str, Any]] = {
    "bridge": BRIDGE,
    "oracle_finetune": {"epochs": 1},
    "translate": TRANSLATE,
    **STUDENTS,
    **POINTS,
}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((name, OPTIONS.get(name, {})) for name in registry.names()),
        ("bridge", {**BRIDGE, "output": "head", "loss": "infonce", "init": "randreal"}),
        ("bridge", {**BRIDGE, "loss_at": "bridge_output", "init": "randreal"}),
        *(("kd_logits", {**KD, **adapt}) for adapt in ADAPTS),
    ],
)
def test_a_trial_of_every_method(on_meta: OnMeta, method: str, options: dict[str, Any]):
    with Meta():
        trial = Trial(on_meta, Spec(method, "final", "x", 0, 0, options))
        next(trial.epochs(), None)
        assert trial.method.logits("test").device == META
        trial.test()


def test_a_population(on_meta: OnMeta):
    with Meta():
        next(together([Trial(on_meta, Spec("bridge", "search", "x", 0, seed, BRIDGE)) for seed in range(2)]))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_head_is_where_its_features_are(task: Task, solver: str):
    options = task.config.teacher.model_copy(update={"solver": solver})
    subject = task.data.subject[task.indices("train")]
    with Meta():
        pooled = torch.ones(len(subject), 5, device=META)
        head = fit_head(pooled, task.labels("train"), subject, task.n_classes, options, 0)
        assert head(pooled).device == META


def test_fine_tuning(on_meta: OnMeta):
    options = changed(on_meta.config, teacher={"epochs": 1}).teacher
    head: Callable[..., nn.Linear] = nn.Linear
    with Meta():
        last = head(on_meta.old.shape_at(on_meta.old.n_blocks)[1], on_meta.n_classes, device=META)
        finetune(on_meta.old, last, on_meta.data.old, on_meta.indices("train"), on_meta.labels("train"), options, 0)
