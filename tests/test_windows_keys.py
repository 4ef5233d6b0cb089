"""What is computed of windows goes by what they, their labels and their moments are, wherever they were read."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import cache, registry
from benchmark.data.base import PairedWindows
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import kept_head, kept_teacher
from tests import test_datasets_troika as troika
from tests.formats import write_troika


def write(root: Path, k: int, seed: int) -> None:
    write_troika(root, f"0{k + 1}_TYPE02", troika.run(seed), troika.RATES)


def read(root: Path, folder: Path) -> tuple[PairedWindows, list[str]]:
    """The windows, and the subjects that had to be read for them."""
    subjects: list[str] = []
    dataset = registry.build("troika", {"root": str(root)})
    windows = cache.load(dataset, "ecg", "ppg", folder, progress=lambda done, total, one: subjects.append(one))
    return windows, [one for one in subjects if one]


def keys(windows: PairedWindows) -> list[dict[str, str]]:
    return [windows.subject_key(modality, k) for modality in ("ecg", "ppg") for k in range(len(windows.subjects))]


def test_recordings_that_were_copied_are_read_again_and_nothing_more(tmp_path: Path):
    root, copy = tmp_path / "root", tmp_path / "copy"
    root.mkdir()
    for k in range(2):
        write(root, k, k)
    first, subjects = read(root, tmp_path / "cache")
    assert subjects == ["S01", "S02"]
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # with times of their own
    again, subjects = read(copy, tmp_path / "cache")
    assert subjects == ["S01", "S02"]
    assert keys(again) == keys(first)
    everything = np.arange(len(first))
    assert again.windows_key("ppg", everything) == first.windows_key("ppg", everything)
    assert again.labels_key(everything) == first.labels_key(everything)
    assert again.moments_key(everything) == first.moments_key(everything)


def test_another_recording_or_another_person_concerns_nobody_else(tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    for k in range(2):
        write(root, k, k)
    first, _ = read(root, tmp_path / "cache")
    write(root, 1, 5)
    write(root, 2, 6)
    after, _ = read(root, tmp_path / "cache")
    for modality in ("ecg", "ppg"):
        assert after.subject_key(modality, 0) == first.subject_key(modality, 0)
        assert after.subject_key(modality, 1) != first.subject_key(modality, 1)
        assert after.windows_key(modality, np.arange(3)) == first.windows_key(modality, np.arange(3))


@pytest.mark.parametrize("what", ["label", "start"])
def test_a_teacher_goes_by_its_labels_and_a_wearers_head_by_his_time(small, what: str):
    task = Task(small, 0)
    data, split = task.data, task.split
    values = getattr(data, what).copy()
    values[split.train[0]] = values[split.train[0]] + 1 if what == "start" else (values[split.train[0]] + 1) % 3
    other = replace(data, **{what: values})
    kept = [kept_teacher(small, one, split, task.old).path for one in (data, other)]
    heads = [kept_head(small, one, split, task.old, "wearer").path for one in (data, other)]
    assert (kept[0] != kept[1]) == (what == "label")
    assert heads[0] != heads[1]
