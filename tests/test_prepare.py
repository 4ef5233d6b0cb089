"""What is prepared once: whatever folds there are, an encoder sees each window once."""

from collections import Counter

import numpy as np
import pytest

from benchmark.cluster.session import session
from benchmark.common.progress import silent
from benchmark.config.schema import Config
from benchmark.encoders.hubert_ecg import HubertECG
from benchmark.encoders.papagei import PaPaGei
from benchmark.frozen import prepare
from benchmark.frozen.loading import load_data
from benchmark.frozen.task import Task
from benchmark.registry import configure
from tests.conftest import SMALL, changed


def folds(config: Config, number: int, cache: object) -> Config:
    split = config.data.split.model_copy(update={"kind": "kfold", "folds": number})
    return changed(config, data={"split": split}).model_copy(update={"cache": str(cache)})


@pytest.fixture
def seen(monkeypatch) -> Counter:
    """Windows that went through each encoder's embedding."""
    counted: Counter = Counter()
    for encoder in (HubertECG, PaPaGei):
        embed = encoder.embed

        def counting(self, inputs, embed=embed):
            counted[self.name] += len(inputs)
            return embed(self, inputs)

        monkeypatch.setattr(encoder, "embed", counting)
    return counted


def extract(config: Config, number: int) -> None:
    data = load_data(config)
    for side in ("old", "new"):
        for one in prepare._extractions(config, data, range(number), side, last_tokens=True):
            prepare._extract(config, [one], silent)


def test_twice_the_folds_do_not_extract_anything_twice(small, tmp_path, seen):
    for number in (3, 6):
        seen.clear()
        extract(folds(small, number, tmp_path / str(number)), number)
        assert seen == {"hubert_ecg": 96, "papagei": 96}  # all windows, once
    config = folds(small, 6, tmp_path / "6")
    seen.clear()
    for fold in range(6):
        task = Task(config, fold)
        for split in ("train", "val", "pair", "test"):
            task.pooled("old", split, 0), task.pooled("new", split, task.new.n_blocks)
        assert len(task.last("pair")) == len(task.indices("pair"))
    assert not seen


def test_the_other_direction_finds_the_features_of_both_encoders(small, tmp_path, seen):
    there = folds(small, 3, tmp_path)
    extract(there, 3)
    seen.clear()
    words = [*SMALL, "encoder@old=papagei", "encoder@new=hubert_ecg", "old.weights=random", "new.weights=random"]
    back = folds(configure(words), 3, tmp_path)
    for fold in range(3):
        task = Task(back, fold)
        assert task.pooled("old", "train", 1).shape[0] == len(task.indices("train"))
        assert task.pooled("new", "test", 1).shape[0] == len(task.indices("test"))
    assert not seen


def test_a_subject_is_a_task_and_folds_with_equal_weights_share_it(small, tmp_path):
    config = folds(small, 4, tmp_path)
    data = load_data(config)
    random = prepare._extractions(config, data, range(4), "new", last_tokens=False)
    assert [one.subject for one in random] == list(range(8))
    local = changed(config, new={"weights": "local"})
    assert len(prepare._extractions(local, data, range(4), "new", last_tokens=False)) == 4 * 8
    assert len(prepare._local_weights(local, data, range(4))) == 4
    tuned = changed(config, teacher={"training": "finetune"})
    assert len(prepare._extractions(tuned, data, range(4), "old", last_tokens=False)) == 4 * 8
    assert len(prepare._extractions(tuned, data, range(4), "new", last_tokens=False)) == 8


def test_local_weights_do_not_depend_on_the_direction(small, tmp_path):
    config = changed(folds(small, 3, tmp_path), old={"weights": "local"}, new={"weights": "local"})
    task = Task(config, 0)
    back = config.model_copy(update={"old": config.new, "new": config.old})
    paths = [prepare.kept_weights(config, task.data, task.split, side).path for side in ("old", "new")]
    assert paths == [prepare.kept_weights(back, load_data(back), task.split, side).path for side in ("new", "old")]


@pytest.mark.parametrize("training", ["probe", pytest.param("finetune", marks=pytest.mark.slow)])
def test_after_preparing_on_a_cluster_all_of_it_is_there(small, tmp_path, training, seen):
    config = changed(folds(small, 2, tmp_path), teacher={"training": training, "epochs": 1}, new={"weights": "local"})
    config = changed(config, pretraining={"steps": 3})
    before = prepare.cached(config, range(2)).counts
    assert {what: there for what, (there, _) in before.items()} == dict.fromkeys(before, 0)
    with session(config.cluster):
        assert prepare.prepare(config, range(2), last_tokens=True) == 0  # seconds of earlier work
        assert prepare.prepare(config, range(2), last_tokens=True) > 0
    after = prepare.cached(config, range(2)).counts
    assert {what: there for what, (there, _) in after.items()} == {what: total for what, (_, total) in after.items()}
    assert after["teachers"] == (2, 2)
    seen.clear()
    task = Task(config, 1)
    assert np.isfinite(task.teacher_logits("test").numpy()).all()
    assert not seen
