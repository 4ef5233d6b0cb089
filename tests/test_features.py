"""The store gives back what one pass computed, mapped from disk, whole or not at all."""

import multiprocessing

import numpy as np
import pytest
import torch

from benchmark.features import Store
from benchmark.task import Task


def batches(rows: int = 10, width: int = 3, size: int = 4):
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    for begin in range(0, rows, size):
        yield {"a": values[begin : begin + size], "b": values[begin : begin + size, :, None] * [1.0, -1.0]}


def test_an_entry_comes_back_as_it_was_computed(tmp_path):
    store = Store(tmp_path)
    features, found = store.get({"k": 1}, 10, batches)
    assert not found
    again, found = store.get({"k": 1}, 10, lambda: pytest.fail("computed twice"))
    assert found
    for entry in (features, again):
        assert entry["a"].tolist() == np.arange(30).reshape(10, 3).tolist()
        assert entry["b"].shape == (10, 3, 2)
        assert entry["b"][7, 1].tolist() == [22.0, -22.0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".arrow"]


def test_another_key_is_another_entry(tmp_path):
    store = Store(tmp_path)
    store.get({"weights": "x"}, 10, batches)
    _, found = store.get({"weights": "y"}, 10, batches)
    assert not found


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def interrupted():
        yield next(batches())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get({"k": 1}, 10, interrupted)
    assert not list(tmp_path.iterdir())


def write(root, n):
    Store(root).get({"k": 1}, n, lambda: batches(n))


def test_several_processes_may_write_the_same_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write, args=(tmp_path, 4000)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    features, found = Store(tmp_path).get({"k": 1}, 4000, batches)
    assert found
    assert features["a"][-1].tolist() == [11997.0, 11998.0, 11999.0]


def test_one_pass_keeps_what_each_block_takes(task: Task):
    indices = task.indices("val")
    for side in ("old", "new"):
        encoder = task.encoder(side)
        with torch.inference_mode():
            inputs = encoder.prepare(task.windows(side).take(indices))
            for block in range(encoder.n_blocks + 1):
                hidden = encoder.run(encoder.embed(inputs), 0, block)
                torch.testing.assert_close(task.pooled(side, "val", block), encoder.pool(hidden), rtol=1e-4, atol=1e-5)
                if side == "old" and block < encoder.n_blocks:
                    torch.testing.assert_close(task.block_input("val", block), hidden, rtol=1e-4, atol=1e-5)
            if side == "old":
                torch.testing.assert_close(task.last("val"), hidden, rtol=1e-4, atol=1e-5)


def test_a_second_task_computes_nothing(task: Task):
    task.compute("old")
    again = Task(task.config, 0)
    again.compute("old")
    assert again.saved > 0
    assert torch.equal(again.teacher_logits("val"), task.teacher_logits("val"))


def test_other_weights_are_other_features(task: Task):
    reseeded = Task({**task.config, "old": {**task.config["old"], "preset": "tiny"}, "seed": 1}, 0)
    reseeded.split = task.split
    key, other = task._key("old", task.old, "val"), reseeded._key("old", reseeded.old, "val")
    assert key["windows"] == other["windows"]
    assert key["weights"] != other["weights"]
