"""The store gives back what one pass computed, mapped from disk, whole or not at all."""

import itertools
import json
import multiprocessing
import os
import random
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from benchmark.features import Damaged, Features, Store, one_pass
from benchmark.features.claim import STALE, Claim
from benchmark.features.files import write_batch
from benchmark.features.store import batches_of, partial_of
from benchmark.common.machine import PeakMemory
from benchmark.frozen.task import Task
from benchmark.bridge.training import LOSSES, Bridge
from tests.test_transfer import BRIDGE

KEY = {"k": 1}


def batches(begin: int = 0, rows: int = 10, width: int = 3, size: int = 4) -> Iterator[dict[str, np.ndarray]]:
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    for row in range(begin, rows, size):
        yield {"a": values[row : row + size], "b": values[row : row + size, :, None] * [1.0, -1.0]}


def never(begin: int) -> Iterator[dict[str, np.ndarray]]:
    pytest.fail("computed again")


def stopped_after(count: int, error: type[BaseException] = KeyboardInterrupt):
    """A computation that is interrupted when ``count`` batches are done."""

    def compute(begin: int) -> Iterator[dict[str, np.ndarray]]:
        yield from itertools.islice(batches(begin), count)
        raise error

    return compute


def interrupted(root: Path, count: int) -> Path:
    """The folder of an entry whose computation was interrupted when ``count`` batches were done."""
    with pytest.raises(KeyboardInterrupt):
        Store(root).get(KEY, 10, stopped_after(count))
    return partial_of(Store(root).path(KEY))


def counted(asked: list[int]):
    """The computation, and the rows at which its batches begin in ``asked``."""

    def compute(begin: int) -> Iterator[dict[str, np.ndarray]]:
        for number, batch in enumerate(batches(begin)):
            asked.append(begin + 4 * number)
            yield batch

    return compute


def is_whole(entry: Features, rows: int = 10) -> bool:
    expected = next(batches(rows=rows, size=rows))
    return set(entry) == set(expected) and all(np.array_equal(entry[name].numpy(), expected[name]) for name in expected)


# -- what comes back --------------------------------------------------------------------------------------------------


def test_an_entry_comes_back_as_it_was_computed(tmp_path):
    store = Store(tmp_path)
    features, found = store.get(KEY, 10, batches)
    assert not found
    again, found = store.get(KEY, 10, never)
    assert found
    for entry in (features, again):
        assert entry["a"].tolist() == np.arange(30).reshape(10, 3).tolist()
        assert entry["b"].shape == (10, 3, 2)
        assert entry["b"][7, 1].tolist() == [22.0, -22.0]
        assert entry["b"].dtype == torch.float64
    assert [path.suffix for path in tmp_path.iterdir()] == [".arrow"]


def test_an_entry_is_an_arrow_file_that_others_open(tmp_path):
    store = Store(tmp_path)
    store.get(KEY, 10, batches)
    path = store.path(KEY)
    assert pl.read_ipc(path)["a"][7].to_list() == [21.0, 22.0, 23.0]
    with pa.ipc.open_file(path) as opened:
        assert opened.num_record_batches == 1
        assert opened.get_batch(0).column("b").type == pa.list_(pa.float64(), 6)
        opened.get_batch(0).validate(full=True)


def test_an_entry_is_mapped_and_not_read(tmp_path):
    """All tensors of an array, in whatever process, are one copy: the file's pages."""
    entry, _ = Store(tmp_path).get(KEY, 10, batches)
    other = Features(entry.path)
    with entry.path.open("r+b") as file:
        content = file.read()
        at = content.index(entry["a"].numpy().tobytes())
        file.seek(at)
        file.write(np.float32(-5).tobytes())
    assert entry["a"][0, 0] == other["a"][0, 0] == -5


def test_arrays_of_any_shape_keep_it(tmp_path):
    arrays = {
        "one": np.arange(7.0),
        "wide": np.random.default_rng(0).standard_normal((7, 2, 3, 1001)).astype(np.float32),
        "count": np.arange(7, dtype=np.int64)[:, None],
    }
    entry, _ = Store(tmp_path).get(KEY, 7, lambda begin: iter([arrays]))
    for name, values in arrays.items():
        assert entry[name].shape == values.shape
        assert np.array_equal(entry[name].numpy(), values)


def test_another_key_is_another_entry(tmp_path):
    store = Store(tmp_path)
    store.get({"weights": "x"}, 10, batches)
    _, found = store.get({"weights": "y"}, 10, batches)
    assert not found


def test_writing_holds_a_batch_in_memory_and_not_a_split(tmp_path):
    """256 MiB are written by a process that may use less than 64 MiB more than it has."""
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=write_much, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 2**28


def write_much(root: Path) -> None:
    batch = np.ones((8, 2**18), dtype=np.float32)  # 8 MiB
    memory = PeakMemory(torch.device("cpu"))
    before = memory.bytes()
    Store(root).get(KEY, 256, lambda begin: ({"a": batch} for _ in range(begin, 256, 8)))
    os._exit(0 if memory.bytes() - before < 64 * 2**20 else 1)


# -- bfloat16 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_bfloat16_takes_two_bytes_and_states_its_error(tmp_path, precision):
    rng = np.random.default_rng(0)
    exact = (rng.standard_normal((4000, 50)) * 10.0 ** rng.integers(-20, 20, (4000, 50))).astype(precision)
    count = np.arange(4000)

    def compute(begin: int) -> Iterator[dict[str, np.ndarray]]:
        for row in range(begin, 4000, 1000):
            yield {"x": exact[row : row + 1000], "count": count[row : row + 1000]}

    entry, _ = Store(tmp_path, "bfloat16").get(KEY, 4000, compute)
    stored = entry["x"]
    assert stored.dtype == torch.bfloat16
    assert torch.equal(stored, torch.from_numpy(exact).to(torch.bfloat16))
    apart = np.abs(stored.double().numpy() - exact)
    assert (apart <= 2**-8 * np.abs(exact)).all()
    stated = entry.description.deviations["x"]
    assert stated.largest == pytest.approx(apart.max() / np.abs(exact).max(), rel=1e-6)
    assert stated.rms == pytest.approx(np.sqrt(np.square(apart).sum() / np.square(exact.astype(float)).sum()), rel=1e-6)
    assert 0 < stated.rms < 2**-8
    assert 0 < stated.largest <= 2**-8
    assert entry.path.stat().st_size < 2 * exact.size + 8 * count.size + 10_000
    assert entry["count"].tolist() == count.tolist()
    assert "count" not in entry.description.deviations


def test_the_type_is_part_of_the_key(tmp_path):
    Store(tmp_path).get(KEY, 10, batches)
    entry, found = Store(tmp_path, "bfloat16").get(KEY, 10, batches)
    assert not found
    assert entry["a"].dtype == torch.bfloat16
    assert not Features(Store(tmp_path).path(KEY)).description.deviations


def test_a_task_computes_in_its_encoders_precision_whatever_the_store_has(task: Task):
    rounded = Task({**task.config, "features": {**task.config["features"], "dtype": "bfloat16"}}, 0)
    assert rounded.last("val").dtype == rounded.block_input("val", 1).dtype == torch.bfloat16
    for side in ("old", "new"):
        pooled = rounded.pooled(side, "val", 1)
        assert pooled.dtype == torch.float32
        torch.testing.assert_close(pooled, task.pooled(side, "val", 1), rtol=2**-8, atol=1e-6)
    teacher = task.teacher_logits("val")
    apart = (rounded.teacher_logits("val") - teacher).norm() / teacher.norm()
    assert apart < 0.1  # the head, too, is fitted to what the store gives
    for loss, loss_at, init in itertools.product(LOSSES, ["last_layer", "bridge_output"], ["rand", "randreal"]):
        options = {**BRIDGE, "loss": loss, "loss_at": loss_at, "init": init}
        found = Bridge(rounded, options, 0).train_epoch().loss
        assert found == pytest.approx(Bridge(task, options, 0).train_epoch().loss, rel=0.05)


# -- unfinished entries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_before_the_first_batch_leaves_nothing(tmp_path, error):
    with pytest.raises(error):
        Store(tmp_path).get(KEY, 10, stopped_after(0, error))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupted_entry_goes_on_from_the_first_missing_batch(tmp_path, done):
    partial = interrupted(tmp_path, done)
    assert [path.name for path in sorted(partial.iterdir())] == [
        f"{row:09d}-{min(row + 4, 10):09d}.arrow" for row in range(0, 4 * done, 4)
    ]
    asked: list[int] = []
    entry, found = Store(tmp_path).get(KEY, 10, counted(asked))
    assert asked == list(range(4 * done, 10, 4))
    assert not found
    assert is_whole(entry)
    entry.verify()
    assert list(tmp_path.iterdir()) == [entry.path]


def test_a_batch_missing_in_the_middle_is_the_only_one_computed(tmp_path):
    partial = interrupted(tmp_path, 3)
    batches_of(partial)[1][2].unlink()
    asked: list[int] = []
    entry, _ = Store(tmp_path).get(KEY, 10, counted(asked))
    assert asked == [4]
    assert is_whole(entry)


def test_an_interrupted_entry_may_go_on_with_another_batch_size(tmp_path):
    batches_of(interrupted(tmp_path, 3))[1][2].unlink()  # rows 4 to 7
    entry, _ = Store(tmp_path).get(KEY, 10, lambda begin: batches(begin, size=3))
    assert is_whole(entry)
    entry.verify()


@pytest.mark.parametrize("damage", ["a value", "cut short", "empty", "another batch"])
def test_a_damaged_batch_is_computed_again_and_named(tmp_path, damage):
    first, second, _ = (path for *_, path in batches_of(interrupted(tmp_path, 3)))
    content = bytearray(second.read_bytes())
    if damage == "a value":
        content[content.index(np.float32(12).tobytes())] ^= 1
    elif damage == "cut short":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(first.read_bytes())[:-1]
    second.write_bytes(content)
    asked: list[int] = []
    with pytest.warns(UserWarning, match=f"{second} is damaged .* computed again"):
        entry, _ = Store(tmp_path).get(KEY, 10, counted(asked))
    assert asked == [4]
    assert is_whole(entry)


def test_a_batch_that_another_process_wrote_anew_is_taken_as_it_is_now(tmp_path):
    """Nodes of other hardware compute the same up to the last digit."""
    other = next(batches())["a"] + np.float32(1e-3)

    def compute(begin: int) -> Iterator[dict[str, np.ndarray]]:
        for batch in batches(begin):
            if len(batch["a"]) < 4:  # at the last batch
                path = batches_of(partial_of(Store(tmp_path).path(KEY)))[0][2]
                write_batch(path, Store(tmp_path).key(KEY), 10, {**next(batches()), "a": other}, "float32", 0.0)
            yield batch

    entry, _ = Store(tmp_path).get(KEY, 10, compute)
    entry.verify()
    assert np.array_equal(entry["a"][:4].numpy(), other)
    assert entry["a"][4:].tolist() == np.arange(12, 30).reshape(6, 3).tolist()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_batch_that_is_lost_in_the_meantime_is_computed_again(tmp_path, lost):
    asked: list[int] = []

    def compute(begin: int) -> Iterator[dict[str, np.ndarray]]:
        for batch in counted(asked)(begin):
            if asked == [0, 4, 8]:
                batches_of(partial_of(Store(tmp_path).path(KEY)))[lost][2].unlink()
            yield batch

    with pytest.warns(UserWarning, match="it is gone"):
        entry, _ = Store(tmp_path).get(KEY, 10, compute)
    assert asked == [0, 4, 8, 4 * lost]
    assert is_whole(entry)


@pytest.mark.parametrize("rows", [9, 11])
def test_a_computation_of_too_few_or_too_many_windows_is_an_error(tmp_path, rows):
    with pytest.raises(RuntimeError, match=rf"features of {rows} windows were computed where 10 were asked for"):
        Store(tmp_path).get(KEY, 10, lambda begin: batches(begin, rows=rows))


def test_progress_counts_the_rows_that_were_there(task: Task, tmp_path):
    indices, said = task.indices("val"), []

    def compute(begin: int) -> Iterator[dict[str, np.ndarray]]:
        return one_pass(
            task.new,
            task.windows("new"),
            indices,
            batch_size=3,
            begin=begin,
            progress=lambda done, total, text: said.append((begin, done, total)),
        )

    def interrupted_pass(begin: int) -> Iterator[dict[str, np.ndarray]]:
        yield from itertools.islice(compute(begin), 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get(KEY, len(indices), interrupted_pass)
    said.clear()
    Store(tmp_path).get(KEY, len(indices), compute)
    assert said[0] == (3, 6, len(indices))
    assert said[-1] == (3, len(indices), len(indices))


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garble",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: b"not an Arrow file\n" * 50,
        lambda content: content.replace(b'"shapes": {"a": [10, 3]', b'"shapes": {"a": [10, 7]'),
        lambda content: content.replace(b'"rows": [4, 4, 2]', b'"rows": [4, 4, 4]'),
        lambda content: content.replace(b'"checksums"', b'"checksumz"'),
        lambda content: content.replace(b'"k": 1', b'"k": 2'),
        lambda content: content.replace(b'"format": 2}', b'"format": 1}'),
        lambda content: content.replace(b"bridgebench", b"bridgebxnch"),
    ],
)
def test_a_garbled_entry_is_computed_again_and_named(tmp_path, garble):
    store = Store(tmp_path)
    path = store.get(KEY, 10, batches)[0].path
    garbled = garble(path.read_bytes())
    assert garbled != path.read_bytes()
    path.write_bytes(garbled)
    with pytest.warns(UserWarning, match=f"{path} is damaged .* computed again"):
        entry, found = store.get(KEY, 10, batches)
    assert not found
    assert is_whole(entry)
    entry.verify()
    assert list(tmp_path.iterdir()) == [path]


def test_no_damage_anywhere_ends_in_a_crash(tmp_path):
    """Bytes changed at random: a file is refused or opened, and ``verify`` sees it where values changed."""
    store, rng = Store(tmp_path), random.Random(0)
    path = store.get(KEY, 10, batches)[0].path
    whole = path.read_bytes()
    opened = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 8])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            entry, found = store.get(KEY, 10, batches)
        opened += found
        try:
            entry.verify()
        except Damaged:
            assert found
        else:
            assert is_whole(entry)
    assert 0 < opened < 150


# -- several processes ------------------------------------------------------------------------------------------------


def write(root: Path, n: int) -> None:
    Store(root).get(KEY, n, lambda begin: batches(begin, n))


def test_several_processes_may_write_the_same_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write, args=(tmp_path, 4000)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    features, found = Store(tmp_path).get(KEY, 4000, never)
    assert found
    assert is_whole(features, 4000)
    assert list(tmp_path.iterdir()) == [features.path]


def test_a_claim_holds_while_its_owner_lives(tmp_path):
    claim = Claim(tmp_path / "entry")
    assert claim.take()
    with claim:
        assert not Claim(tmp_path / "entry").take()
    assert not claim.taken()
    assert not (tmp_path / "entry").exists()


@pytest.mark.parametrize(
    ("owner", "age", "alive"),
    [
        ({"host": "elsewhere", "pid": 1, "token": "x"}, 0, True),
        ({"host": "elsewhere", "pid": 1, "token": "x"}, STALE + 5, False),
        ({"host": socket.gethostname(), "pid": 2**22 + 1, "token": "x"}, 0, False),
        ({"host": socket.gethostname(), "pid": os.getppid(), "token": "x"}, 0, True),
        ({"host": socket.gethostname(), "pid": os.getppid(), "token": "x"}, STALE + 5, False),
        ({"host": socket.gethostname(), "pid": os.getpid(), "token": "of an earlier life of this number"}, 0, False),
        ("being written", 0, True),
        ("never written", 5, False),
    ],
)
def test_a_claim_of_the_dead_is_taken_over(tmp_path, owner, age, alive):
    claim = Claim(tmp_path)
    claim.path.write_text(json.dumps(owner) if isinstance(owner, dict) else "")
    touched = claim.path.stat().st_mtime - age
    os.utime(claim.path, (touched, touched))
    assert claim.taken() == alive
    assert claim.take() != alive


# -- what the engine keeps --------------------------------------------------------------------------------------------


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
