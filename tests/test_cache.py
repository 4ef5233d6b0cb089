"""What the cache holds: named by all that changes its numbers, the same whoever computed it, and checked before use."""

import importlib.metadata
import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.common import keys
from benchmark.common import store as store_module
from benchmark.common.progress import silent
from benchmark.config.schema import Config
from benchmark.errors import Notice
from benchmark.frozen import prepare
from benchmark.frozen import task as task_module
from benchmark.frozen.__main__ import main as command
from benchmark.frozen.task import Task
from tests.conftest import changed

KINDS = ("data", "weights", "teachers", "features")
SPLITS = ("train", "val", "pair", "test")


def new_process() -> None:
    """Forget what this process has opened."""
    store_module._checked.clear()
    task_module._open.clear()


def numbers(config: Config) -> list[torch.Tensor]:
    """What a run takes of every kind of file, in a process that has opened none."""
    new_process()
    task = Task(config, 0)
    every = np.arange(len(task.data))
    found = [torch.from_numpy(side.take(every)) for side in (task.data.old, task.data.new)]
    found += [*task.new.state_dict().values(), *task.head.state_dict().values()]
    return [*found, *(task.pooled(side, split, 2) for side in ("old", "new") for split in SPLITS)]


@pytest.fixture(scope="module")
def made(small: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, list[torch.Tensor]]:
    """A cache with all kinds of files, and the numbers that were computed when it was filled."""
    config = changed(small, new={"weights": "local"}, pretraining={"steps": 2})
    config = config.model_copy(update={"cache": str(tmp_path_factory.mktemp("made") / "cache")})
    return config, numbers(config)


@pytest.fixture
def copied(made: tuple[Config, list[torch.Tensor]], tmp_path: Path) -> Iterator[Config]:
    config = made[0].model_copy(update={"cache": str(tmp_path / "cache")})
    shutil.copytree(made[0].cache, config.cache)
    yield config
    new_process()


# -- damage -----------------------------------------------------------------------------------------------------------


def flipped(content: bytes, share: float) -> bytes:
    at = min(int(share * len(content)), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "first byte": lambda content: flipped(content, 0.0),
    "a byte of the header": lambda content: flipped(content, random.Random(1).uniform(0, 400 / len(content))),
    "a byte": lambda content: flipped(content, random.Random(2).random()),
    "another byte": lambda content: flipped(content, random.Random(3).random()),
    "last byte": lambda content: flipped(content, 1.0),
    "cut short": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "deleted": lambda content: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_at_the_next_use_said_and_computed_again_with_the_same_numbers(made, copied, kind, damage):
    files = sorted((Path(copied.cache) / kind).iterdir())
    file = random.Random(damage).choice(files)
    content = DAMAGE[damage](file.read_bytes())
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    new_process()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        prepare.cached(copied, range(1))  # what --plan asks: it repairs data alone, and ends in any case
        after = numbers(copied)
    assert all(torch.equal(*both) for both in zip(after, made[1], strict=True))
    notices = {str(one.message) for one in said if one.category is Notice}
    assert len(notices) == (damage != "deleted")
    assert all(f"{file} is damaged" in text and text.endswith("computed again") for text in notices)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        numbers(copied)
    assert sorted((Path(copied.cache) / kind).iterdir()) == files


def test_the_command_looks_at_all_kinds_of_files(copied, capsys):
    cache = Path(copied.cache)
    assert command(["verify", "--cache", str(cache)]) == 0
    assert command(["list", "--cache", str(cache)]) == 0
    printed = capsys.readouterr().out
    for what in ("windows", "local weights", "teacher", "pooled"):
        assert f" {what} " in printed
    damaged = [sorted((cache / kind).iterdir())[0] for kind in KINDS]
    for file in damaged:
        file.write_bytes(flipped(file.read_bytes(), 0.5))
    assert command(["verify", "--cache", str(cache)]) == 1
    printed = capsys.readouterr().out
    assert all(f"{file}: " in printed for file in damaged)
    assert command(["prune", "--damaged", "--cache", str(cache)]) == 0
    assert not any(file.exists() for file in damaged)


def test_seconds_of_earlier_work_are_not_those_of_damaged_files(copied):
    new_process()
    assert prepare._pretrain(copied, 0, "new", silent) > 0
    assert prepare._teach(copied, 0, silent) > 0
    for kind in ("weights", "teachers"):
        for file in (Path(copied.cache) / kind).iterdir():
            file.write_bytes(flipped(file.read_bytes(), 0.5))
    new_process()
    with pytest.warns(Notice):
        saved = prepare._pretrain(copied, 0, "new", silent), prepare._teach(copied, 0, silent)
    assert saved == (0.0, 0.0)


# -- keys -------------------------------------------------------------------------------------------------------------


def names(config: Config) -> dict[str, set[str]]:
    """Names of the files that a run would look for."""
    new_process()
    keys.libraries.cache_clear()
    task = Task(config, 0)
    features = task.features("new")
    paths = {
        "data": {task.data.old.store.path(key) for key in task.data.old.keys},
        "weights": {prepare.kept_weights(config, task.data, task.split, "new").path},
        "teachers": {task.kept_teacher.path},
        "features": {features.store.path(features._key("pooled", 0))},
    }
    return {kind: {path.name for path in found} for kind, found in paths.items()}


@pytest.mark.parametrize("library", ["torch", "numpy", "scipy", "scikit-learn", "mne", "transformers"])
def test_another_version_of_a_library_is_another_key_of_all_that_is_kept(copied, library, monkeypatch):
    before = names(copied)
    assert all(set(os.listdir(Path(copied.cache) / kind)) >= found for kind, found in before.items())
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == library else version(name))
    after = names(copied)
    monkeypatch.undo()
    assert names(copied) == before
    for kind in KINDS:
        assert not before[kind] & after[kind], f"{kind} do not know the version of {library}"


def test_threads_are_part_of_the_key_of_all_that_is_computed_and_not_of_the_windows(copied):
    before = names(copied)
    after = names(copied.model_copy(update={"threads": 2}))
    assert names(copied) == before
    assert {kind for kind in KINDS if before[kind] & after[kind]} == {"data"}
