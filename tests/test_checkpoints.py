"""A trial that is lost goes on from its checkpoint as if nothing had been, and reads no file that is not its own."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import registry
from benchmark.errors import Notice
from benchmark.frozen.task import Task
from benchmark.method import Method
from benchmark.plan import Spec
from benchmark.trial import checkpoints
from benchmark.trial.checkpoints import FOLDER, Checkpoint
from benchmark.trial.trial import Trial
from tests.test_students import STUDENTS
from tests.test_transfer import BRIDGE
from tests.test_translate import POINT

EPOCHS, KILLED = 5, 3
TIMES = {"step_seconds", "train_seconds", "peak_memory_bytes", "started_at"}
LATE = {
    "objective": "both",
    "init": "regression",
    "standardise": True,
    "averaging": True,
    "dropout": 0.2,
    "mixing": 0.4,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("bridge", BRIDGE),
    ("bridge", {**BRIDGE, **LATE}),
    ("translate", POINT),
    *((name, options) for name, options in STUDENTS.items()),
    ("kd_logits", {**STUDENTS["kd_logits"], "adapt": "lora", "lora_rank": 2}),
]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)


@pytest.fixture
def fresh(task: Task, tmp_path: Path) -> Task:
    """The task with a cache of its own for checkpoints alone: what is stored is open already."""
    _ = task.head, task.features("old"), task.features("new")  # which all copies share, in the store of the first
    mine = task.noting()
    mine.config = task.config.model_copy(update={"cache": str(tmp_path)})
    return mine


def trial_of(task: Task, name: str, options: dict[str, Any]) -> Trial:
    return Trial(task, Spec(name, "search", f"{name}-000", 0, 0, {**options, "epochs": EPOCHS}))


def files(task: Task) -> list[Path]:
    return list((Path(task.config.cache) / FOLDER).glob("*"))


def without_times(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in trial.row().items() if name not in TIMES}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_trial_that_was_lost_goes_on_to_the_same_row(fresh: Task, often: None, name: str, options: dict[str, Any]):
    whole = trial_of(fresh, name, options)
    for _ in whole.epochs():
        pass
    assert files(fresh) == []  # it has ended

    lost = trial_of(fresh, name, options)
    going = lost.epochs()
    for _ in range(KILLED):
        next(going)
    assert len(files(fresh)) == 1
    torch.rand(100)  # whatever else its process did
    again = trial_of(fresh, name, options)
    epochs = [found["epoch"] for found in again.epochs()]
    assert epochs == list(range(KILLED + 1, EPOCHS + 1))
    assert without_times(again) == without_times(whole)
    assert again.started_at == lost.started_at
    for split in ("val", "test"):
        torch.testing.assert_close(again.method.logits(split), whole.method.logits(split), rtol=0, atol=0)
    for key, tensor in whole.best_state.items():
        torch.testing.assert_close(again.best_state[key], tensor, rtol=0, atol=0)
    assert files(fresh) == []


def test_what_trains_by_epochs_says_what_changes() -> None:
    """Or its trials start again."""
    for name in registry.names():
        kind = registry.get(name)
        if kind.train_epoch is not Method.train_epoch:
            assert kind.resumable, name


def test_there_is_none_within_a_minute_or_of_another_trial(fresh: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = trial_of(fresh, "bridge", BRIDGE)
    going = trial.epochs()
    next(going)
    assert files(fresh) == []
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    next(going)
    (file,) = files(fresh)
    spec = trial.spec
    assert Checkpoint(fresh.config, spec).path == file
    for other in (
        Spec("bridge", "search", spec.trial_id, 0, 0, {**spec.options, "rank": 2}),
        Spec("bridge", "search", spec.trial_id, 0, 1, spec.options),
        Spec("bridge", "search", spec.trial_id, 0, 0, spec.options, inner=1, folds=2),
        Spec("bridge", "search", "bridge-001", 0, 0, spec.options),
    ):
        assert Checkpoint(fresh.config, other).read() == {}
    assert Checkpoint(fresh.config, spec).read()["trial"]


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (open, ("/tmp/evil", "w"))


@pytest.mark.parametrize("content", [b"", b"no archive", pickle.dumps(Evil()), json.dumps({"trial": 1}).encode(), None])
def test_a_damaged_one_is_said_and_runs_nothing(fresh: Task, often: None, content: bytes | None) -> None:
    trial = trial_of(fresh, "bridge", BRIDGE)
    next(trial.epochs())
    (file,) = files(fresh)
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    with pytest.warns(Notice, match="its trial starts again"):
        again = next(trial_of(fresh, "bridge", BRIDGE).epochs())
    assert again["epoch"] == 1
    assert not Path("/tmp/evil").exists()


def test_a_full_disk_stops_no_trial(fresh: Task, often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_bytes", full)
    with pytest.warns(Notice, match="No space left on device"):
        assert [found["epoch"] for found in trial_of(fresh, "bridge", BRIDGE).epochs()] == list(range(1, EPOCHS + 1))
