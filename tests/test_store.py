"""A file of the store comes back as it was computed, mapped from disk, whole or not at all, and checked when opened."""

import itertools
import multiprocessing
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from benchmark.common import seal
from benchmark.common import store as module
from benchmark.common.keys import libraries
from benchmark.common.machine import PeakMemory
from benchmark.common.store import Entry, Rows, Store
from benchmark.errors import Notice, RunError

KEY = {"k": 1}


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test opens files as a process does that has not seen any."""
    monkeypatch.setattr(module, "_checked", {})


def batches(rows: int = 10, size: int = 4) -> Iterator[dict[str, np.ndarray]]:
    values = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    for row in range(0, rows, size):
        yield {"a": values[row : row + size], "b": values[row : row + size, :, None] * [1.0, -1.0]}


def write(store: Store, key: dict[str, object], computed: Iterator[dict[str, np.ndarray]]) -> Entry:
    with store.writer(key) as writer:
        for batch in computed:
            writer.add(batch, 0.5)
    return store.written(key)


def whole(entry: Entry, rows: int = 10) -> bool:
    expected = next(batches(rows, rows))
    return set(entry) == set(expected) and all(
        np.array_equal(torch.cat(entry[name]).numpy(), values) for name, values in expected.items()
    )


# -- what comes back --------------------------------------------------------------------------------------------------


def test_an_entry_comes_back_as_it_was_computed(tmp_path):
    store = Store(tmp_path)
    assert store.open(KEY) is None
    for entry in (write(store, KEY, batches()), store.open(KEY)):
        assert entry is not None
        assert whole(entry)
        assert entry.rows == 10
        assert entry.seconds == 1.5
        assert entry.key == {**KEY, "dtype": "float32", "format": 4, "libraries": libraries()}
        assert abs(entry.created - time.time()) < 60
        assert torch.cat(entry["b"]).dtype == torch.float64
    assert [path.suffix for path in tmp_path.iterdir()] == [".arrow"]


def test_arrays_of_any_shape_and_type_keep_it(tmp_path):
    arrays = {
        "one": np.arange(7.0),
        "wide": np.random.default_rng(0).standard_normal((7, 2, 3, 1001)).astype(np.float32),
        "turned": np.arange(42, dtype=np.float32).reshape(2, 3, 7).T,
        "count": np.arange(7, dtype=np.int64)[:, None],
    }
    parts = ({name: values[rows] for name, values in arrays.items()} for rows in (slice(4), slice(4, 7)))
    entry = write(Store(tmp_path), KEY, parts)
    for name, values in arrays.items():
        assert np.array_equal(torch.cat(entry[name]).numpy(), values)
        assert torch.cat(entry[name]).numpy().dtype == values.dtype


def test_an_entry_is_an_arrow_file_that_others_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4 * 3 * (4 + 2 * 8))  # a batch each
    store = Store(tmp_path)
    assert len(write(store, KEY, batches())["a"]) == 3
    path = store.path(KEY)
    assert pl.read_ipc(path)["a"][7].to_list() == [21.0, 22.0, 23.0]
    with pa.ipc.open_file(path) as opened:
        assert opened.num_record_batches == 3
        assert opened.get_batch(0).column("b").type == pa.list_(pa.float64(), 6)
        opened.get_batch(2).validate(full=True)


def test_an_entry_is_mapped_and_not_read(tmp_path):
    """All tensors of an array, in whatever process, are one copy: the file's pages."""
    store = Store(tmp_path)
    entry, other = write(store, KEY, batches()), store.open(KEY)
    assert other is not None
    with store.path(KEY).open("r+b") as file:
        file.seek(file.read().index(entry["a"][0].numpy().tobytes()))
        file.write(np.float32(-5).tobytes())
    assert entry["a"][0][0, 0] == other["a"][0][0, 0] == -5


def test_another_key_or_type_is_another_entry(tmp_path):
    write(Store(tmp_path), {"weights": "x"}, batches())
    assert Store(tmp_path).open({"weights": "y"}) is None
    assert Store(tmp_path, "bfloat16").open({"weights": "x"}) is None


def test_writing_holds_a_record_batch_in_memory_and_not_a_file(tmp_path):
    """512 MiB are written by a process that may use less than 96 MiB more than it has."""
    worker = multiprocessing.get_context("fork").Process(target=write_much, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 2**29


def write_much(root: Path) -> None:
    batch = np.ones((8, 2**18), dtype=np.float32)  # 8 MiB
    memory = PeakMemory(torch.device("cpu"))
    before = memory.bytes()
    with Store(root).writer(KEY) as writer:
        for _ in range(64):
            writer.add({"a": batch})
    os._exit(0 if memory.bytes() - before < 96 * 2**20 else 1)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_bfloat16_takes_two_bytes_and_states_its_error(tmp_path, precision, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 100_000)
    rng = np.random.default_rng(0)
    exact = (rng.standard_normal((4000, 50)) * 10.0 ** rng.integers(-20, 20, (4000, 50))).astype(precision)
    parts = ({"x": exact[row : row + 500], "count": np.arange(row, row + 500)} for row in range(0, 4000, 500))
    entry = write(Store(tmp_path, "bfloat16"), KEY, parts)
    stored = torch.cat(entry["x"])
    assert len(entry["x"]) > 2
    assert stored.dtype == torch.bfloat16
    assert torch.equal(stored, torch.from_numpy(exact).to(torch.bfloat16))
    apart, stated = np.abs(stored.double().numpy() - exact), entry.deviations["x"]
    assert (apart <= 2**-8 * np.abs(exact)).all()
    assert stated.largest == pytest.approx(apart.max() / np.abs(exact).max(), rel=1e-6)
    assert stated.rms == pytest.approx(np.sqrt(np.square(apart).sum() / np.square(exact.astype(float)).sum()), rel=1e-6)
    assert 0 < stated.rms < 2**-8
    assert entry.path.stat().st_size < 2 * exact.size + 8 * 4000 + 20_000
    assert torch.cat(entry["count"]).tolist() == list(range(4000))
    assert "count" not in entry.deviations


# -- rows of several entries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [0, 2**20])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_of_several_entries_are_one_array(tmp_path, monkeypatch, in_memory, dtype):
    monkeypatch.setattr(module, "CHUNK", 100)  # several chunks an entry
    monkeypatch.setattr(module, "IN_MEMORY", in_memory)
    store = Store(tmp_path, dtype)
    parts = [chunk for k in range(3) for chunk in write(store, {"k": k}, batches())["b"]]
    index = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:25]
    with torch.inference_mode():
        rows = Rows(parts, index)
        assert torch.equal(rows.all(), torch.cat(parts)[index])
    expected = torch.cat(parts)[index]
    assert (len(rows), rows.shape, rows.dtype) == (25, (25, 3, 2), expected.dtype)
    for which in (torch.tensor([[3, 24], [3, 0]]), slice(5, 20), 7, -1, torch.arange(25) > 20, torch.arange(0)):
        assert torch.equal(rows[which], expected[which])
    with pytest.raises(IndexError):
        rows[torch.tensor([25])]
    weight = torch.ones(3, 2, requires_grad=True)  # a target in training, though it was gathered in inference mode
    (weight * rows[:].float()).sum().backward()
    assert weight.grad is not None


# -- damage -----------------------------------------------------------------------------------------------------------


def flipped(content: bytes) -> bytes:
    at = content.index(np.float32(12).tobytes())
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "garble",
    [
        flipped,
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: b"not an Arrow file\n" * 50,
        lambda content: content.replace(b'"layout": {"a": ["float32", [3]]', b'"layout": {"a": ["float32", [7]]'),
        lambda content: content.replace(b'"k": 1', b'"k": 2'),
        lambda content: content.replace(b'"seconds": ', b'"seconds":1'),
        lambda content: content.replace(b"bridgebench", b"bridgebxnch"),
    ],
)
def test_damage_is_found_at_the_first_opening_and_computed_again(tmp_path, garble: Callable[[bytes], bytes]):
    store = Store(tmp_path)
    write(store, KEY, batches())
    path = store.path(KEY)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(garble(content))
    assert path.read_bytes() != content
    with pytest.warns(Notice, match=f"{path} is damaged .* computed again"):
        assert store.open(KEY) is None
    assert whole(write(store, KEY, batches()))
    assert list(tmp_path.iterdir()) == [path]


def test_another_keys_content_is_damage(tmp_path):
    store = Store(tmp_path)
    write(store, {"k": 2}, batches())
    store.path({"k": 2}).rename(store.path(KEY))
    with pytest.warns(Notice, match="it holds what belongs to another key"):
        assert store.open(KEY) is None


def test_a_file_is_checked_once_in_a_process_and_again_when_it_was_replaced(tmp_path, monkeypatch):
    store, checked = Store(tmp_path), []
    verify = Entry.verify
    monkeypatch.setattr(Entry, "verify", lambda entry: checked.append(entry.path) or verify(entry))
    write(store, KEY, batches())
    store.open(KEY)
    assert len(checked) == 1
    used = time.time() - 90_000
    os.utime(store.path(KEY), (used, used))
    store.open(KEY)  # it changed, and is marked as used
    assert time.time() - store.path(KEY).stat().st_mtime < 60
    store.open(KEY)
    assert len(checked) == 2
    write(store, KEY, batches())
    assert len(checked) == 3


def test_no_byte_may_be_another(tmp_path):
    """Each byte changed alone, then several at random: none ends in a crash, or is taken for what was written."""
    store, rng = Store(tmp_path), random.Random(0)
    path = write(store, KEY, batches()).path
    content = path.read_bytes()
    for places in [*([at] for at in range(len(content))), *(rng.choices(range(len(content)), k=8) for _ in range(300))]:
        garbled = bytearray(content)
        for at in places:
            garbled[at] ^= rng.randrange(1, 256)
        path.unlink()
        path.write_bytes(garbled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)
            assert store.open(KEY) is None, places
    path.write_bytes(content)
    assert store.open(KEY) is not None


# -- what goes wrong while writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("done", [0, 2])
def test_an_interruption_leaves_nothing(tmp_path, error, done):
    def interrupted() -> Iterator[dict[str, np.ndarray]]:
        yield from itertools.islice(batches(), done)
        raise error

    with pytest.raises(error):
        write(Store(tmp_path), KEY, interrupted())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    opened = pa.OSFile

    def full(path: str, mode: str) -> pa.NativeFile:
        Path(path).touch()
        return opened("/dev/full", mode)

    monkeypatch.setattr(pa, "OSFile", full)
    with pytest.raises(
        RunError, match=r"the disk is full; make room, for example with `python -m benchmark\.frozen"
    ) as error:
        write(Store(tmp_path), KEY, batches())
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_does_not_give_back_what_it_took_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(seal.zlib, "crc32", lambda content, found: random.getrandbits(32))
    with pytest.warns(Notice, match="is damaged"), pytest.raises(RunError, match="what was written is not"):
        write(Store(tmp_path), KEY, batches())


def test_several_processes_may_write_the_same_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_often, args=(tmp_path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    entry = Store(tmp_path).open(KEY)
    assert entry is not None
    assert whole(entry, 4000)
    assert list(tmp_path.iterdir()) == [entry.path]


def write_often(root: Path) -> None:
    for _ in range(5):
        assert whole(write(Store(root), KEY, batches(4000)), 4000)


def test_a_read_only_cache_can_be_used(tmp_path, monkeypatch):
    store = Store(tmp_path)
    write(store, KEY, batches())
    os.utime(store.path(KEY), (0, 0))
    monkeypatch.setattr(os, "utime", lambda *_: (_ for _ in ()).throw(PermissionError))
    assert store.open(KEY) is not None
