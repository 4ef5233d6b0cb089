"""A recording under the numbers of two subjects is of one person: it is refused, and both are named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmark.data import cache, registry
from benchmark.data.__main__ import main as command
from benchmark.data.leakage import copied, moving, window_digests
from benchmark.data.stress_predict import LABELS
from benchmark.errors import InputError
from tests import test_datasets_eegmat as eegmat
from tests import test_datasets_stress_predict as stress
from tests import test_datasets_troika as troika
from tests.formats import (
    ISRUC_EEG,
    wesad_content,
    write_fog,
    write_isruc,
    write_isruc_labels,
    write_seconds,
    write_troika,
    write_wesad,
)


class Case(NamedTuple):
    """How a set is written, and the files of its first subject under the number of its last."""

    options: dict[str, Any]
    write: Callable[[Path, int], None]
    copies: dict[str, str]
    said: str


def write_eegmat(root: Path, k: int) -> None:
    root.mkdir(exist_ok=True)
    for condition, seconds in ((1, 70), (2, 62)):
        signals = (1 + 0.1 * k) * eegmat.recording(seconds, 60 + 7 * k)
        eegmat.write_edf(root / f"Subject0{k}_{condition}.edf", eegmat.LABELS, signals)


def write_night(root: Path, k: int) -> None:
    rng = np.random.default_rng(k)
    write_isruc(root, k + 1, {name: 30 * rng.standard_normal(6 * 6000) for name in (*ISRUC_EEG, "X2")}, [0, 1, 2] * 2)


def write_session(root: Path, k: int) -> None:
    rng = np.random.default_rng(k)
    label = np.repeat([0, 1, 2, 3], 700 * 6)
    content = wesad_content(f"S{k + 2}", rng.standard_normal(700 * 24), rng.standard_normal(64 * 24), label)
    write_wesad(root, f"S{k + 2}", content)


def write_task(root: Path, k: int) -> None:
    rng = np.random.default_rng(k)
    columns = {c: rng.standard_normal(2500).round(3) for c in range(2, 60)}
    write_fog(root / "FilteredData" / f"00{k + 1}" / "task_1.txt", columns, np.repeat([0, 1], [1700, 800]))


def write_wrist(root: Path, k: int) -> None:
    rows = [row for number in range(k + 1) for row in stress.write(root, f"S{number + 2:02d}", number, hours=0)]
    write_seconds(root / LABELS, rows)


def write_run(root: Path, k: int) -> None:
    write_troika(root, f"0{k + 1}_TYPE02", troika.run(k), troika.RATES)


CASES = {
    "eegmat": Case(
        {},
        write_eegmat,
        {f"Subject00_{k}.edf": f"Subject02_{k}.edf" for k in (1, 2)},
        "Subject00_1 of Subject00 and Subject02_1 of Subject02 have equal windows of eeg, .* move the files",
    ),
    "isruc": Case(
        {},
        write_night,
        {"ExtractedChannels/subject1.mat": "ExtractedChannels/subject3.mat"},
        r"of 001 and .* of 003 have equal windows of eeg, .*data\.exclude=\[3\]",
    ),
    "wesad": Case(
        {"seconds": 5, "stride": 1},
        write_session,
        {"S2/S2.pkl": "S4/S4.pkl"},
        r"S2 of S2 and S4 of S4 have equal windows of ecg, .*data\.exclude=\[S4\]",
    ),
    "fog": Case(
        {"subjects": None},
        write_task,
        {"FilteredData/001/task_1.txt": "FilteredData/003/task_1.txt"},
        "001/task_1 of 001 and 003/task_1 of 003 have equal windows of eeg, .* move the files",
    ),
    "stress_predict": Case(
        stress.SHORT,
        write_wrist,
        {"Raw_data/S02/BVP.csv": "Raw_data/S04/BVP.csv"},
        r"S02 of S02 and S04 of S04 have equal windows of ppg, .*data\.exclude=\[S04\]",
    ),
    "troika": Case(
        {},
        write_run,
        {"DATA_01_TYPE02.mat": "DATA_03_TYPE02.mat"},
        r"DATA_01_TYPE02 of S01 and DATA_03_TYPE02 of S03 have equal windows of ecg, .*data\.exclude=\[S03\]",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_recording_of_two_subjects_is_refused_by_a_run_and_by_the_check(name: str, tmp_path: Path, capsys):
    case, root = CASES[name], tmp_path / "root"
    for k in range(3):
        case.write(root, k)
    dataset = registry.build(name, {**case.options, "root": str(root)})
    assert len(cache.load(dataset, *dataset.modalities, tmp_path / "cache", progress=False)) > 0
    words = [f"{option}={'null' if value is None else value}" for option, value in case.options.items()]
    check = ["check", name, "--root", str(root), *words, "split.kind=blocked", "split.block_seconds=1"]
    command(check)
    assert "equal windows" not in capsys.readouterr().out
    for file, other in case.copies.items():
        shutil.copyfile(root / file, root / other)
    if name == "isruc":  # the same night scored by another
        write_isruc_labels(root, 3, [0, 2, 3, 5, 5, 0])
    with pytest.raises(InputError, match=f"data set {name}: .*{case.said}") as error:
        cache.load(dataset, *dataset.modalities, tmp_path / "cache", progress=False)
    assert command(check) == 2
    assert f"error: {error.value}\n" in capsys.readouterr().out


def test_only_windows_that_move_of_different_subjects_are_compared():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((8, 2, 50)).astype(np.float32)
    signal[[0, 4]] = [[[3.0], [5.0]]]  # flat in both channels
    signal[1] = signal[0]
    signal[1, 1, 7] += 1
    signal[3] = signal[2]  # of one subject
    subject = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    signals = [signal, rng.standard_normal((8, 1, 50)).astype(np.float32)]
    moves = moving(signals)
    assert moves.all(axis=0).tolist() == [False, True]
    assert np.flatnonzero(~moves[:, 0]).tolist() == [0, 4]
    digests = window_digests(signals)
    assert digests.shape == (8, 2)
    assert not copied(digests, moves, subject)
    signal[7], signal[5], signal[6] = signal[2], signal[1], signal[1]
    assert sorted(copied(window_digests(signals), moves, subject)) == [(1, 5, 0), (3, 7, 0), (5, 6, 0)]


@pytest.mark.parametrize("like", [None, "wesad", "isruc", "fog"])
def test_simulated_people_have_nothing_in_common_even_without_noise(like, tmp_path: Path):
    options = {"like": like, "subjects": 4, "condition_seconds": 240, "noise": 0, "effect": 0}
    dataset = registry.build("simulated", options)
    assert len(cache.load(dataset, *dataset.modalities, tmp_path, progress=False).subjects) == 4
