"""Processes that are killed with SIGKILL while they write an entry: what follows reads nothing that is not whole."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.base import Windows
from benchmark.encoders import registry
from benchmark.encoders.papagei import PaPaGei
from benchmark.features import Features, Store, one_pass
from benchmark.features.claim import STALE
from benchmark.features.files import read_batch
from benchmark.features.store import batches_of, partial_of

KEY = {"what": "pass", "split": "pair"}
SIZE = 2
KILLS = 20


class Noise(Windows):
    """White noise, the same in every process."""

    def __init__(self, n: int):
        self.spec = PaPaGei.example
        shape = (n, self.spec.n_channels, self.spec.n_samples)
        self.values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.values[indices]


def compute(n: int, log: Path):
    """One pass of a small encoder; ``log`` says when a batch begins to be computed and when it is to be kept."""
    encoder = registry.build("papagei", PaPaGei.example, "tiny", seed=0).freeze()
    windows, indices = Noise(n), np.arange(n)

    def batches(begin: int) -> Iterator[dict[str, np.ndarray]]:
        passing = one_pass(encoder, windows, indices, last=True, batch_size=SIZE, begin=begin)
        for row in range(begin, n, SIZE):
            note(log, "compute", row)
            batch = next(passing)
            note(log, "keep", row)
            yield batch

    return batches


def note(log: Path, what: str, row: int) -> None:
    with log.open("a") as file:
        file.write(f"{what} {os.getpid()} {row}\n")


def work(root: Path, n: int, log: Path, ready: Path) -> None:
    """A process that asks for the entry."""
    torch.set_num_threads(1)
    batches = compute(n, log)
    ready.touch()
    Store(root).get(KEY, n, batches)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are killed: the number of threads changes the last digit of what is computed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def context():
    """New processes from one that has imported what they need: they start soon and share no state with this one."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["benchmark.features", "benchmark.encoders.papagei", __name__])
    return found


def started(context, *arguments) -> BaseProcess:
    """A process that is about to ask for the entry."""
    ready = arguments[-1]
    ready.unlink(missing_ok=True)
    process = context.Process(target=work, args=arguments)
    process.start()
    wait(ready.exists)
    return process


def wait(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def killed(process: BaseProcess) -> bool:
    """Whether SIGKILL found the process at work."""
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def computed(log: Path, what: str = "compute") -> Counter[int]:
    """How often the batch that begins at a row was computed, or begun."""
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith(what)]
    return Counter(int(row) for _, _, row in lines)


def pids(log: Path) -> set[int]:
    """The processes that computed."""
    return {int(line.split()[1]) for line in log.read_text().splitlines()}


def all_whole(root: Path) -> int:
    """How many batches are finished; an error for a file under a final name that is not whole."""
    path = Store(root).path(KEY)
    if path.exists():
        Features(path).verify()
    found = batches_of(partial_of(path))
    for begin, end, file in found:
        assert read_batch(file)[0].rows == [end - begin]
    return len(found)


def is_reference(entry: Features, n: int, log: Path) -> bool:
    """Whether an entry is bit for bit what one uninterrupted pass gives."""
    batches = list(compute(n, log)(0))
    entry.verify()
    return all(
        np.array_equal(entry[name].numpy(), np.concatenate([batch[name] for batch in batches])) for name in batches[0]
    )


def test_an_entry_whose_writer_is_killed_twenty_times_is_whole_and_finished(context, tmp_path):
    root, log, n, rng = tmp_path / "store", tmp_path / "log", 240, random.Random(0)
    log.touch()
    progress = []
    while len(progress) < KILLS:
        # At any moment, and, every other time, at any moment from when a batch is computed and will be written.
        what, longest = ("compute", 0.01) if len(progress) % 2 else ("keep", 0.003)
        goal = computed(log, what).total() + rng.randrange(4)
        process = started(context, root, n, log, tmp_path / "ready")
        wait(lambda what=what, goal=goal: computed(log, what).total() >= goal)  # type: ignore[misc]
        time.sleep(rng.uniform(0, longest))
        assert killed(process), "finished before it was killed so often: make the entry longer"
        progress.append(all_whole(root))
    assert progress == sorted(progress), "finished batches were lost"
    assert 0 < progress[-1] < n // SIZE
    last = started(context, root, n, log, tmp_path / "ready")
    last.join()
    assert last.exitcode == 0
    times = computed(log)
    assert sorted(times) == list(range(0, n, SIZE))
    assert max(times.values()) <= KILLS + 1
    # What each kill cost is the batch that was being computed.
    assert times.total() <= n // SIZE + KILLS
    entry, found = Store(root).get(KEY, n, lambda begin: pytest.fail("computed again"))
    assert found
    assert is_reference(entry, n, tmp_path / "another log")
    assert list(root.iterdir()) == [entry.path]


def test_killed_while_the_batches_are_laid_together(context, tmp_path):
    root, log, n, rng = tmp_path / "store", tmp_path / "log", 200, random.Random(1)
    log.touch()

    def interrupted(begin: int) -> Iterator[dict[str, np.ndarray]]:
        yield from compute(n, tmp_path / "another log")(begin)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(root).get(KEY, n, interrupted)
    path = Store(root).path(KEY)
    partial = partial_of(path)

    def writing() -> bool:
        return path.exists() or (partial.exists() and any(partial.glob(f".{path.name}.*.tmp")))

    unfinished = 0
    for _ in range(KILLS // 2):
        for left in partial.glob(f".{path.name}.*.tmp"):
            left.unlink()  # so that the next one is seen
        process = started(context, root, n, log, tmp_path / "ready")
        wait(writing)
        time.sleep(rng.uniform(0, 0.02))
        killed(process)
        there = all_whole(root)
        if path.exists():
            break
        unfinished += 1
        assert there == n // SIZE, "finished batches were lost"
    assert unfinished
    last = started(context, root, n, log, tmp_path / "ready")
    last.join()
    assert last.exitcode == 0
    assert not computed(log), "a batch that was there was computed again"
    entry, found = Store(root).get(KEY, n, lambda begin: pytest.fail("computed again"))
    assert found
    assert is_reference(entry, n, tmp_path / "another log")
    assert list(root.iterdir()) == [path]


def test_killed_between_finishing_and_tidying_up(tmp_path):
    """What that leaves is made by hand: the moment is too short to hit."""
    root, log = tmp_path / "store", tmp_path / "log"
    entry, _ = Store(root).get(KEY, 4, compute(4, log))
    partial = partial_of(entry.path)
    partial.mkdir()
    (partial / "000000000-000000002.arrow").write_bytes(b"of the dead")
    (partial / ".000000002-000000004.arrow.17.abcd.tmp").write_bytes(b"of the dead")
    (partial / "owner.json").write_text('{"host": "elsewhere", "pid": 17, "token": "abcd"}')
    _, found = Store(root).get(KEY, 4, lambda begin: pytest.fail("computed again"))
    assert found
    assert list(root.iterdir()) == [entry.path]


def test_a_process_that_waits_takes_over_when_the_owner_is_killed(context, tmp_path):
    root, log, n = tmp_path / "store", tmp_path / "log", 200
    log.touch()
    owner = started(context, root, n, log, tmp_path / "ready")
    wait(lambda: len(computed(log)) > 5)
    other = started(context, root, n, log, tmp_path / "ready")
    time.sleep(0.1)
    assert pids(log) == {owner.pid}, "two processes compute one entry though both live"
    assert killed(owner)
    other.join()
    assert other.exitcode == 0
    assert computed(log).total() <= n // SIZE + 1
    entry, found = Store(root).get(KEY, n, lambda begin: pytest.fail("computed again"))
    assert found
    assert is_reference(entry, n, tmp_path / "another log")
    assert list(root.iterdir()) == [entry.path]


@pytest.mark.parametrize("kill", [False, True])
def test_two_processes_that_both_believe_to_own_an_entry_do_not_harm_it(context, tmp_path, kill):
    """A claim is advice. Here the second takes it from a first that lives, as after a network's long pause."""
    root, log, n = tmp_path / "store", tmp_path / "log", 200
    log.touch()
    first = started(context, root, n, log, tmp_path / "ready")
    wait(lambda: len(computed(log)) > 5)
    owner = partial_of(Store(root).path(KEY)) / "owner.json"
    owner.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "abcd"}))
    past = time.time() - 2 * STALE
    os.utime(owner, (past, past))
    second = started(context, root, n, log, tmp_path / "ready")
    wait(lambda: second.pid in pids(log))
    if kill:
        assert killed(first)
    for process in (first, second):
        process.join()
    assert second.exitcode == 0
    assert first.exitcode == (-signal.SIGKILL if kill else 0)
    assert max(computed(log).values()) == 2, "they did not compute at once"
    entry, found = Store(root).get(KEY, n, lambda begin: pytest.fail("computed again"))
    assert found
    assert is_reference(entry, n, tmp_path / "another log")
    assert list(root.iterdir()) == [entry.path]
