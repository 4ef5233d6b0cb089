"""TROIKA: small MATLAB files of a run whose heart rate is known, and the real recordings where they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from scipy import signal as sps
from scipy.io.matlab import MatlabObject

from benchmark.data import cache, registry
from benchmark.data.splits import splits_of
from benchmark.errors import InputError
from tests.formats import Damage, cut_short, foreign, patched, put, write_troika

RATE = 125
SECONDS = 40.3
RUNS = ("01_TYPE01", "04_TYPE01", "04_TYPE02")
RATES = np.r_[np.linspace(90, 120, 5), 124.99, 125, 130, 140, 149.99, 150, 150.01, np.linspace(151, 175, 5)]


def run(seed: int, interval: float = 0.5) -> np.ndarray:
    """(6, T): a spike for each beat, pulses 0.2 s and 0.3 s later, and a step frequency in the acceleration."""
    time, rng = np.arange(round(SECONDS * RATE)) / RATE, np.random.default_rng(seed)

    def beats(delay: float, width: float) -> np.ndarray:
        phase = np.remainder(time - delay + interval / 2, interval) - interval / 2
        return 100 * np.exp(-0.5 * (phase / width) ** 2) + rng.standard_normal(len(time))

    moved = [np.sin(2 * np.pi * 2.6 * time + k) for k in range(3)]
    return np.stack([beats(0, 0.012), beats(0.2, 0.06), beats(0.3, 0.06), *moved])


def make(root: Path) -> None:
    for seed, name in enumerate(RUNS):
        write_troika(root, name, run(seed), RATES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path / "troika")
    return tmp_path / "troika"


def troika(root: Path, **options):
    return registry.build("troika", {"root": str(root), **options})


def test_windows_are_those_of_the_reference_and_classes_its_zones(root: Path):
    dataset = troika(root)
    windows = dataset.read("S01")
    assert windows.start.tolist() == [2 * k for k in range(17)]
    zones = [0 if rate < 125 else 1 if rate < 150 else 2 for rate in RATES]
    assert windows.label.tolist() == zones
    assert np.bincount(zones).tolist() == [6, 4, 7]
    ecg, ppg = dataset.spec("ecg"), dataset.spec("ppg")
    assert (ecg.channels, ecg.rate, ecg.n_samples, ecg.unit) == (("ECG",), 100, 800, "z")
    assert (ppg.channels, ppg.rate, ppg.n_samples, ppg.unit) == (("PPG",), 125, 1000, "z")


def test_the_runs_of_a_person_are_one_subject(root: Path, tmp_path: Path):
    assert troika(root).subjects() == ["S01", "S04"]
    windows = troika(root).read("S04")
    assert windows.recording.tolist() == ["DATA_04_TYPE01"] * 17 + ["DATA_04_TYPE02"] * 17
    assert windows.start.tolist() == [2 * k for k in range(17)] * 2
    for k in range(2, 12):
        write_troika(root, f"{k:02d}_TYPE02", run(20 + k), RATES)
    both = cache.load(troika(root), "ecg", "ppg", tmp_path / "cache", progress=False)
    assert len(both.subjects) == 11
    for kind, folds in (("kfold", 5), ("leave-one-subject-out", 11)):
        options = registry.options_of("troika", {"split": {"kind": kind}}).split
        splits = splits_of(both, options, seed=0)
        assert [split.leakage for split in splits] == ["none"] * folds
        for split in splits:
            holding = [part for part, mine in split.parts().items() if (both.subject[mine] == 3).any()]
            assert len(holding) == 1


def test_both_signals_are_prepared_as_their_page_says_and_either_sensor_can_be_read(root: Path):
    """Against NumPy's interpolation and SciPy's own filters over the run."""
    signals = run(0)
    up = np.interp(np.linspace(0, signals.shape[1] - 1, 4 * signals.shape[1]), np.arange(signals.shape[1]), signals[0])
    filtered = sps.filtfilt(sps.firwin(151, [0.05, 47], pass_zero="bandpass", fs=500), 1.0, up)
    heart = np.interp(np.linspace(0, len(up) - 1, round(SECONDS * 100)), np.arange(len(up)), filtered)
    b, a = sps.cheby1(4, 0.5, [0.5, 12], btype="bandpass", fs=RATE)
    for row, sensor in ((1, "first"), (2, "second")):
        windows = troika(root, sensor=sensor).read("S01")
        pulse = sps.filtfilt(b, a, signals[row])
        for modality, rate, signal in (("ecg", 100, heart), ("ppg", 125, pulse)):
            signal = (signal - signal.mean()) / signal.std()
            for k in range(17):
                part = signal[2 * k * rate : (2 * k + 8) * rate]
                np.testing.assert_allclose(windows.signals[modality][k, 0], part, atol=1e-4)


def test_the_names_of_the_publishers_archive_are_read_too(root: Path):
    before = troika(root).read("S04")
    for name in RUNS:
        (root / f"REF_{name}.mat").rename(root / f"DATA_{name}_BPMtrace.mat")
    after = troika(root).read("S04")
    np.testing.assert_array_equal(before.label, after.label)
    np.testing.assert_array_equal(before.signals["ppg"], after.signals["ppg"])


def saved(name: str, **content: Any):
    return lambda root: scipy.io.savemat(root / name, content)


def damages(root: Path) -> Iterator[Damage]:
    signals, data, reference = run(0), "DATA_01_TYPE01.mat", "REF_01_TYPE01.mat"
    for name in (data, reference):
        original = (root / name).read_bytes()
        yield from cut_short(name, original, 12)
        yield from foreign(name)
        yield f"{name} has bytes behind its end", put(name, original + b"\0\0\0")
        yield f"{name} is of version 7.3", patched(name, original, 124, b"\x00\x02")
        yield f"{name} is missing", lambda root, n=name: (root / n).unlink()
    nan, inf = signals.copy(), signals.copy()
    nan[1, 77], inf[5, -1] = np.nan, np.inf
    program = np.array([[("os.system('true')",)]], dtype=[("run", "O")])
    for what, wrong in {
        "text": "sig",
        "a cell": np.array([signals, "x"], dtype=object),
        "a struct": {"values": signals},
        "an object of a class": MatlabObject(program, "handle"),
        "complex values": signals + 1j,
        "columns for rows": signals.T,
        "five rows": signals[:5],
        "seven rows": np.concatenate([signals, signals[:1]]),
        "a row": signals[0],
        "three dimensions": signals[None],
        "no samples": signals[:, :0],
        "less than a window": signals[:, :999],
        "half of the run": signals[:, : signals.shape[1] // 2],
        "every other sample, as at 62.5 Hz": signals[:, ::2],
        "twice the samples, as at 250 Hz": signals.repeat(2, axis=1),
        "NaN": nan,
        "infinity": inf,
    }.items():
        yield f"sig is {what}", saved(data, sig=wrong)
    yield "sig is not there", saved(data, signal=signals)
    for what, wrong in {
        "text": "120",
        "a cell": np.array([RATES, "x"], dtype=object),
        "complex values": RATES + 1j,
        "a table": np.tile(RATES[:, None], 2),
        "no windows": RATES[:0],
        "a window too few": RATES[:-1],
        "a window too many": np.append(RATES, 150),
        "NaN": np.where(RATES == 125, np.nan, RATES),
        "infinity": np.where(RATES == 125, np.inf, RATES),
        "rates in Hz": RATES / 60,
        "negative rates": -RATES,
    }.items():
        yield f"BPM0 is {what}", saved(reference, BPM0=wrong)
    yield "BPM0 is not there", saved(reference, BPM=RATES)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sig is five rows", r"DATA_01_TYPE01.mat: sig has shape \(5, 5038\), not \(6, at least 1000 samples\)"),
        ("sig is NaN", "DATA_01_TYPE01.mat: sig holds values that are not finite"),
        ("sig is not there", "DATA_01_TYPE01.mat: no variable sig among signal"),
        ("sig is an object of a class", "DATA_01_TYPE01.mat: variable sig holds .*, not numbers"),
        ("sig is every other sample, as at 62.5 Hz", "REF_01_TYPE01.mat: 17 heart rates, DATA_.* has 7 windows of 8 s"),
        ("BPM0 is a window too few", "REF_01_TYPE01.mat: 16 heart rates, .* are not of one run, download both again"),
        ("BPM0 is rates in Hz", "REF_01_TYPE01.mat: the heart rate of window 0 is 1.5 a minute, not 30 to 240"),
        ("BPM0 is a table", r"REF_01_TYPE01.mat: BPM0 has shape \(17, 2\), not \(windows, 1\)"),
        ("REF_01_TYPE01.mat is missing", r"REF_01_TYPE01.mat: missing, subject S01 needs it; .*data.exclude=\[S01\]"),
        ("DATA_01_TYPE01.mat is missing", r"DATA_01_TYPE01.mat: missing, subject S01 needs it"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(root: Path, tmp_path: Path, what: str, said: str):
    (damage,) = [damage for name, damage in damages(root) if name == what]
    damage(root)
    with pytest.raises(InputError, match=said) as caught:
        cache.load(troika(root), "ecg", "ppg", tmp_path / "cache", progress=False)
    assert "\n" not in str(caught.value)


def test_what_does_not_belong_there_is_left_alone(root: Path):
    for extra in ("Readme.pdf", "TEST_S01_T01.mat", "DATA_1_TYPE1.mat", "REF.mat"):
        (root / extra).write_bytes(b"\0")
    assert troika(root).subjects() == ["S01", "S04"]
    assert troika(root, exclude=["S01"]).subjects() == ["S04"]


def test_the_real_runs_give_the_windows_of_their_reference(shared: Path, tmp_path: Path):
    root = shared / "data" / "troika"
    dataset = troika(root)
    windows = cache.load(dataset, "ecg", "ppg", tmp_path, progress=False)
    assert len(windows.subjects) == 11
    assert len(set(windows.recording)) == 12
    assert np.bincount(windows.label).tolist() == [562, 602, 562]
    assert set(windows.recording[windows.subject == windows.subjects.index("S04")]) == {
        "DATA_04_TYPE01",
        "DATA_04_TYPE02",
    }
    rates = np.concatenate([scipy.io.loadmat(file)["BPM0"][:, 0] for file in sorted(root.glob("REF_*.mat"))])
    assert (rates == 150).sum() == 3  # which are of the upper zone
    # The reference is the ECG's own: in nearly all windows it is the period of the ECG.
    ecg = np.abs(np.gradient(windows.old.take(np.arange(0, len(windows), 10)), axis=-1))[:, 0]
    power = np.abs(np.fft.rfft(ecg - ecg.mean(axis=-1, keepdims=True), 1 << 15)) ** 2
    frequency = np.fft.rfftfreq(1 << 15, 1 / 100)
    band = (frequency > 1) & (frequency < 3.2)
    found = 60 * frequency[band][power[:, band].argmax(axis=-1)]
    assert np.mean(np.abs(found - rates[::10]) < 5) > 0.9
    for split in splits_of(windows, dataset.options.split, seed=0):
        assert split.leakage == "none"
        assert all(len(np.unique(windows.label[mine])) == 3 for mine in split.parts().values())
