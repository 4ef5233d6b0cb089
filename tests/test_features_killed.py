"""Extractions that are killed with SIGKILL: what follows reads nothing that is not whole, and goes on where it was."""

import contextlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.common.machine import use_threads
from benchmark.common.store import Entry, Store
from benchmark.frozen.features import Features
from tests.test_features import papagei, people

COUNTS = (20,) * 8
KILLS = 12


def extract(root: Path, log: Path) -> None:
    """A process that extracts all subjects; ``log`` says of which it computes a batch."""
    use_threads(1)

    def note(done: int, total: int, text: str) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {text}\n")

    features = Features(Store(root), people(COUNTS), papagei(), "ppg", 2, note)
    for subject in range(len(COUNTS)):
        features.extract(subject, last=np.arange(COUNTS[subject]))


@pytest.fixture(scope="module")
def context():
    """New processes from one that has imported what they need: they start soon and share no state with this one."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["benchmark.frozen.features", "benchmark.encoders.papagei", __name__])
    return found


def started(context, root: Path, log: Path) -> BaseProcess:
    """A process that computes by now."""
    log.touch()
    size = log.stat().st_size
    process = context.Process(target=extract, args=(root, log))
    process.start()
    end = time.monotonic() + 60
    while process.is_alive() and log.stat().st_size == size:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)
    return process


def whole(root: Path) -> set[str]:
    """The entries that are there; an error for one that is not whole."""
    found = set()
    for path in root.glob("*.arrow"):
        entry = Entry(path)
        entry.verify()
        assert entry.rows == COUNTS[0]
        found.add(f"{entry.key['what']} of {entry.key['subject']}")
    return found


def is_reference(root: Path, other: Path) -> bool:
    """Whether all that was extracted is bit for bit what an extraction at one go gives."""
    extract(other, other.with_name("another log"))
    names = {path.name for path in other.iterdir()}
    assert {path.name for path in root.iterdir() if not path.name.startswith(".")} == names
    return all(
        torch.equal(torch.cat(Entry(root / name)[array]), torch.cat(chunks))
        for name in names
        for array, chunks in Entry(other / name).items()
    )


def test_a_killed_extraction_loses_at_most_the_subject_it_was_at(context, tmp_path):
    root, log, rng = tmp_path / "store", tmp_path / "log", random.Random(0)
    before: set[str] = set()
    for _ in range(KILLS):
        process = started(context, root, log)
        time.sleep(rng.uniform(0, 0.05))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        there = whole(root)
        assert before <= there, "what was finished was lost"
        before = there
    assert len(before) < 2 * len(COUNTS), "finished before it was killed so often: give it more to do"
    last = started(context, root, log)
    last.join()
    assert last.exitcode == 0
    assert len(whole(root)) == 2 * len(COUNTS)
    begun = [line.split() for line in log.read_text().splitlines()]
    for subject in range(len(COUNTS)):  # no process computed anything of a subject that was finished
        assert len({pid for pid, *_, name in begun if name == f"S{subject}"}) <= KILLS + 1
    assert len({(pid, name) for pid, *_, name in begun}) <= len(COUNTS) + KILLS
    assert is_reference(root, tmp_path / "another store")


@pytest.mark.parametrize("kill", [False, True])
def test_two_extractions_at_once_do_no_harm(context, tmp_path, kill):
    root, log = tmp_path / "store", tmp_path / "log"
    first, second = (started(context, root, log) for _ in range(2))
    if kill:
        os.kill(first.pid or 0, signal.SIGKILL)
    for process in (first, second):
        process.join()
    assert second.exitcode == 0
    assert first.exitcode in ([0, -signal.SIGKILL] if kill else [0])
    whole(root)
    assert is_reference(root, tmp_path / "another store")
