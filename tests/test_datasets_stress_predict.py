"""Stress-Predict: small texts as the E4 writes them, read by the clock, and the real recordings where they are."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import signal as sps

from benchmark.data import cache, registry
from benchmark.data.splits import splits_of
from benchmark.data.stress_predict import LABELS, StressPredict
from benchmark.errors import InputError
from tests.formats import Damage, cut_short, foreign, put, write_e4, write_seconds

START = 1_644_227_574
SHORT = {"seconds": 20, "stride": 5}
STATES = ((0, 61), (1, 50), (0, 34))  # label and seconds, from the first labelled second on
SECONDS = 150  # of the signals, whose first 5 have no label
EVENTS = (30.0, 77.0, 99.0, 130.0)  # seconds after START at which pulse and skin show the same moment
LATER = 2.5  # s that the EDA begins after the BVP


def bump(rate: float, first: float, width: float, seed: int = 0) -> np.ndarray:
    """A Gaussian at every event, in a series that begins ``first`` s after START; a little noise."""
    time = first + np.arange(round((SECONDS - first) * rate)) / rate
    clean = sum(np.exp(-0.5 * ((time - event) / width) ** 2) for event in EVENTS)
    return clean + 0.01 * np.random.default_rng(seed).standard_normal(len(time))


def write(root: Path, name: str, number: int = 0, hours: int = 2) -> list[tuple[int, float, int]]:
    """Both signals of the volunteer with that ``number``, so many hours after each other; returns the labels."""
    start = START + 3600 * hours * number
    write_e4(root / "Raw_data" / name / "BVP.csv", start, 64, 80 * bump(64, 0, 0.08, number), digits=2)
    write_e4(root / "Raw_data" / name / "EDA.csv", start + LATER, 4, 2 + bump(4, LATER, 0.8, number))
    label = np.repeat(*zip(*STATES, strict=True))
    return [(int(name[1:]), start + 5 + k, int(value)) for k, value in enumerate(label)]


def make(root: Path) -> None:
    rows = write(root, "S02")
    write(root, "S01", 1)  # as published: without labels
    write_seconds(root / LABELS, [*rows, *write(root, "S13", 2)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path / "stress")
    return tmp_path / "stress"


def stress(root: Path, **options):
    return registry.build("stress_predict", {"root": str(root), **SHORT, **options})


def expected() -> list[tuple[float, int]]:
    """Windows of 20 s every 5 s that lie within one state: counted from the table of states alone."""
    found, begin = [], 0
    for label, seconds in STATES:
        found += [(float(s), label) for s in range(0, 150, 5) if begin <= s and s + 20 <= begin + seconds]
        begin += seconds
    return found


def test_windows_are_counted_labelled_and_within_one_label(root: Path):
    dataset = stress(root)
    assert dataset.subjects() == ["S02", "S13"]  # S01 has no label
    windows = dataset.read("S13")
    assert [*zip(windows.start.tolist(), windows.label.tolist(), strict=True)] == expected()
    assert np.bincount(windows.label).tolist() == [12, 6]
    ppg, eda = dataset.spec("ppg"), dataset.spec("eda")
    assert (ppg.channels, ppg.rate, ppg.n_samples, ppg.unit) == (("BVP",), 125, 2500, "z")
    assert (eda.channels, eda.rate, eda.n_samples, eda.unit) == (("EDA",), 6.5, 130, "z")
    assert registry.build("stress_predict", {"root": str(root)}).spec("eda").n_samples == 390
    assert len(stress(root, label_share=0.8).read("S13").label) > 18


def test_signals_and_labels_are_held_together_by_the_clock(root: Path):
    """Time 0 is the first labelled second, 5 s after the BVP and 2.5 s after the EDA begin."""
    windows = stress(root, label_share=0.6).read("S02")
    seen = 0
    for k, start in enumerate(windows.start):
        for event in np.array(EVENTS) - 5 - start:
            if 2 < event < 18:
                near = slice(round((event - 2) * 6.5), round((event + 2) * 6.5))
                assert abs(windows.signals["eda"][k, 0, near].argmax() / 6.5 - 2 - (event % (1 / 6.5))) < 0.35
                near = slice(round((event - 1) * 125), round((event + 1) * 125))
                assert abs(windows.signals["ppg"][k, 0, near].argmax() / 125 - 1) < 0.03
                seen += 1
    assert seen > 10


def test_both_signals_are_prepared_as_their_page_says(root: Path):
    """Against SciPy's own filters over what the texts hold of the labelled time."""
    windows = stress(root).read("S02")
    bvp, eda = (np.loadtxt(root / "Raw_data" / "S02" / name)[2:] for name in ("BVP.csv", "EDA.csv"))
    bvp, eda = bvp[5 * 64 : 150 * 64], eda[10 : 10 + 145 * 4]
    b, a = sps.cheby1(4, 0.5, [0.5, 12], btype="bandpass", fs=125)
    pulse = sps.filtfilt(b, a, sps.resample(bvp, round(len(bvp) * 125 / 64)))
    skin = sps.resample_poly(eda, 13, 8, padtype="line")[: round(len(eda) * 6.5 / 4)]
    for modality, rate, signal in (("ppg", 125, pulse), ("eda", 6.5, skin)):
        signal = (signal - signal.mean()) / signal.std()
        for k, start in enumerate(windows.start):
            first = round(start * rate)
            part = signal[first : first + round(20 * rate)]
            np.testing.assert_allclose(windows.signals[modality][k, 0], part, atol=1e-4)


def swapped(rows: list[str], k: int) -> list[str]:
    return [*rows[:k], rows[k + 1], rows[k], *rows[k + 2 :]]


def damages(root: Path) -> Iterator[Damage]:
    for name, rate in (("Raw_data/S02/BVP.csv", 64), ("Raw_data/S02/EDA.csv", 4)):
        text = (root / name).read_text()
        lines = text.splitlines()
        yield from cut_short(name, text.encode(), 12, last=len(text) // 2)
        yield from foreign(name)
        yield f"{name} is missing", lambda root, n=name: (root / n).unlink()
        for wrong in (f"{rate / 2:g}", f"-{rate}", "0", "nan", "", "fast", f"{rate},{rate}"):
            yield f"{name} has the rate {wrong!r}", put(name, "\n".join([lines[0], wrong, *lines[2:]]))
        for wrong in ("nan", "inf", "", "today", str(START - 3600), "0", "1e300"):
            yield f"{name} starts at {wrong!r}", put(name, "\n".join([wrong, *lines[1:]]))
        for wrong in ("nan", "-inf", "", "x", "1,5", "1e999", "\0"):
            yield f"{name} holds {wrong!r}", put(name, "\n".join([*lines[:200], wrong, *lines[201:]]))
        yield f"{name} has no samples", put(name, "\n".join(lines[:2]))
        yield f"{name} has no start", put(name, "\n".join(lines[1:]))
        yield f"{name} has neither start nor rate", put(name, "\n".join(lines[2:]))
    text = (root / LABELS).read_text()
    header, *rows = text.splitlines()
    first = [row for row in rows if row.startswith("2,")]
    yield from cut_short(LABELS, text.encode(), 10, last=text.index("\n13,") - 900)
    yield from foreign(LABELS)
    yield "no labels", lambda root: (root / LABELS).unlink()
    for what, other in {
        "no header": rows,
        "another header": [header.replace("Label", "Stress"), *rows],
        "no participant 2": [header, *rows[len(first) :]],
        "half of the labels": [header, *rows[:70], *rows[len(first) :]],
        "labels from the middle on": [header, *rows[70:]],
        "a second too few": [header, *rows[:20], *rows[21:]],
        "a second twice": [header, *rows[:20], rows[19], *rows[20:]],
        "times that run backwards": [header, *reversed(first), *rows[len(first) :]],
        "two seconds swapped": [header, *swapped(rows, 30)],
        "times of another hour": [header, *(row.replace(f",{START // 1000}", f",{START // 1000 - 4}") for row in rows)],
        "a column less": [row.rpartition(",")[0] for row in (header, *rows)],
        "a column more": [f"{row},0" for row in (header, *rows)],
    }.items():
        yield f"labels: {what}", put(LABELS, "\n".join(other))
    for column, wrong in [(4, "2"), (4, "-1"), (4, "0.5"), (4, "nan"), (4, ""), (4, "stress"), (3, "nan"), (0, "x")]:
        fields = rows[40].split(",")
        row = ",".join([*fields[:column], wrong, *fields[column + 1 :]])
        yield (
            f"{wrong!r} in column {column} of the labels",
            put(LABELS, "\n".join([header, *rows[:40], row, *rows[41:]])),
        )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("Raw_data/S02/BVP.csv has the rate '32'", "BVP.csv: line 2 says 32 Hz, the E4 has 64 Hz; use"),
        ("Raw_data/S02/EDA.csv has no samples", "EDA.csv: 2 lines, not a start, a rate and samples"),
        ("Raw_data/S02/EDA.csv holds 'nan'", "EDA.csv: line 201 holds nan in column 0, not a finite number"),
        ("Raw_data/S02/EDA.csv is missing", "EDA.csv: missing, subject S02 needs it; .*data.exclude=\\[S02\\]"),
        (f"Raw_data/S02/BVP.csv starts at '{START - 3600}'", "S02: on the clock it has ppg from -3605 to -3455 s, eda"),
        (
            "labels: half of the labels",
            "S02: on the clock .* label from 0 to 70 s; they must begin and end within 30 s",
        ),
        ("labels: no participant 2", "no label of participant 2; leave the subject out with data.exclude=\\[S02\\]"),
        ("labels: two seconds swapped", f"line 32 has the time {START + 36} and .* should be a second after the one"),
        ("'2' in column 4 of the labels", "line 42 has .* the label 2, and should be with a label of 0 or 1"),
        ("labels: no header", "binary.csv: begins with b'2,60,12.5.*, not Participant,HR"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(root: Path, tmp_path: Path, what: str, said: str):
    (damage,) = [damage for name, damage in damages(root) if name == what]
    damage(root)
    with pytest.raises(InputError, match=said) as caught:
        cache.load(stress(root), "ppg", "eda", tmp_path / "cache", progress=False)
    assert "\n" not in str(caught.value)


def test_what_does_not_belong_there_is_left_alone_and_who_has_no_label_can_be_left_out(root: Path):
    for extra in ("Raw_data/S02/ACC.csv", "Raw_data/notes.txt", "Raw_data/.DS_Store", "desktop.ini"):
        (root / extra).write_bytes(b"\0")
    (root / "Raw_data" / "S2").mkdir()
    assert stress(root).subjects() == ["S02", "S13"]
    write(root, "S36", 3)
    with pytest.raises(
        InputError, match=r"no label of participant 36; leave the subject out with data.exclude=\[S36\]"
    ):
        stress(root).read("S36")
    assert stress(root, exclude=["S36"]).subjects() == ["S02", "S13"]


def test_windows_that_overlap_are_in_one_part_of_every_split(root: Path, tmp_path: Path):
    rows = [row for k in range(2, 12) for row in write(root, f"S{k:02d}", k)]
    write_seconds(root / LABELS, rows)
    windows = cache.load(stress(root, exclude=["S13"]), "eda", "ppg", tmp_path / "cache", progress=False)
    splits = splits_of(windows, registry.options_of("stress_predict").split, seed=0)
    assert [split.leakage for split in splits] == ["none"] * 5
    blocked = registry.options_of("stress_predict", {"split": {"kind": "blocked", "block_seconds": 40}}).split
    assert splits_of(windows, blocked, seed=0)[0].leakage == "subjects"  # people, and no sample of theirs


def test_the_real_recordings_give_the_published_labels_their_windows(shared: Path, tmp_path: Path):
    root = shared / "data" / "stress_predict"
    dataset = registry.build("stress_predict", {"root": str(root)})
    windows = cache.load(dataset, "eda", "ppg", tmp_path, progress=False)
    assert len(windows.subjects) == 23  # of 24 whose signals are there
    rows = np.genfromtxt(root / LABELS, delimiter=",", skip_header=1, usecols=(0, 3, 4)).astype(int)
    counted = np.zeros(2, dtype=int)
    for name in windows.subjects:
        mine = rows[rows[:, 0] == int(name[1:])]
        ends = []
        for file, rate in (("BVP.csv", 64), ("EDA.csv", 4)):
            lines = (root / "Raw_data" / name / file).read_text().split()
            assert (float(lines[1]), mine[0, 1] - float(lines[0])) == (rate, 9)
            ends.append(float(lines[0]) + (len(lines) - 2) / rate)
        last = min(*ends, mine[-1, 1] + 1) - mine[0, 1]
        for start in np.arange(0, last - 60 + 1e-9, 15).astype(int):
            seconds = mine[start : start + 60, 2]
            counted[seconds[0]] += seconds.min() == seconds.max()
    assert counted.tolist() == np.bincount(windows.label).tolist() == [3060, 1386]
    assert re.match(r"MIT License", (root / "LICENSE").read_text())
    assert StressPredict.licence == "MIT"
    assert [split.leakage for split in splits_of(windows, dataset.options.split, seed=0)] == ["none"] * 5
