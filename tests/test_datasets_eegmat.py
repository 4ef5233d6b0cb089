"""EEGMAT: small EDF files that the tests write byte by byte, and the real recordings where they are."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import cache, registry
from benchmark.data.eegmat import CHANNELS
from benchmark.data.formats.edf import read_header
from benchmark.data.splits import make_splits
from benchmark.errors import InputError
from tests import formats

LABELS = [*(f"EEG {name}" for name in CHANNELS), "EEG A2-A1", "ECG ECG"]
RATE = 500


def write_edf(file: Path, labels: list[str], signals: np.ndarray, rate: int = RATE) -> None:
    """``signals`` (C, T) in uV, or in mV for an ECG."""
    channels = {label: (signal, rate) for label, signal in zip(labels, signals, strict=True)}
    formats.write_edf(file, channels, signals.shape[1] // rate, steps=128)


def recording(seconds: int, beats_per_minute: float) -> np.ndarray:
    """(21, T): channel k of the EEG is a sine of 3 + k Hz and 10 + k uV; the ECG a spike (1 mV) for each beat."""
    time = np.arange(seconds * RATE) / RATE
    eeg = [(10 + k) * np.sin(2 * np.pi * (3 + k) * time) for k in range(20)]
    phase = np.remainder(time * beats_per_minute / 60, 1.0) * 60 / beats_per_minute
    return np.stack([*eeg, np.exp(-0.5 * ((phase - 0.3) / 0.02) ** 2)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "eegmat"
    folder.mkdir()
    for subject in ("Subject00", "Subject07"):
        write_edf(folder / f"{subject}_1.edf", LABELS, recording(70, beats_per_minute=60))
        write_edf(folder / f"{subject}_2.edf", LABELS, recording(62, beats_per_minute=90))
    return folder


def eegmat(root: Path, **options):
    return registry.build("eegmat", {"root": str(root), **options})


def test_windows_are_counted_labelled_and_in_their_units(root: Path):
    dataset = eegmat(root, stride=10)
    assert dataset.subjects() == ["Subject00", "Subject07"]
    windows = dataset.read("Subject07")
    assert windows.label.tolist() == [0] * 6 + [1] * 6
    assert windows.recording.tolist() == ["Subject07_1"] * 6 + ["Subject07_2"] * 6
    assert windows.start.tolist() == [10, 20, 30, 40, 50, 60, 0, 10, 20, 30, 40, 50]
    eeg, ecg = dataset.spec("eeg"), dataset.spec("ecg")
    assert (eeg.channels, eeg.rate, eeg.n_samples, eeg.unit) == (CHANNELS, 200, 2000, "uV")
    assert (ecg.channels, ecg.rate, ecg.n_samples, ecg.unit) == (("ECG",), 100, 1000, "z")
    assert windows.signals["eeg"].shape == (12, 19, 2000)
    assert windows.signals["ecg"].shape == (12, 1, 1000)
    # Each channel under its own name: amplitude and frequency are those that were written for it.
    time = np.arange(2000) / 200
    for k in range(19):
        expected = (10 + k) * np.sin(2 * np.pi * (3 + k) * time)
        np.testing.assert_allclose(windows.signals["eeg"][2, k], expected, atol=0.3)


def test_both_modalities_show_the_same_moments(root: Path):
    dataset = eegmat(root, seconds=4, stride=3.5)
    windows = dataset.read("Subject00")
    for k, start in enumerate(windows.start):
        interval = 1.0 if windows.label[k] == 0 else 60 / 90
        peak = windows.signals["ecg"][k, 0].argmax() / 100 + start
        assert abs(np.remainder(peak - 0.3 + interval / 2, interval) - interval / 2) < 0.015
        phase = np.angle(np.vdot(np.exp(2j * np.pi * 3 * np.arange(800) / 200), windows.signals["eeg"][k, 0]))
        expected = 2 * np.pi * 3 * start - np.pi / 2
        assert abs(np.remainder(phase - expected + np.pi, 2 * np.pi) - np.pi) < 0.02


def test_the_order_of_channels_in_the_file_does_not_matter(root: Path):
    expected = eegmat(root).read("Subject00")
    signals = recording(62, beats_per_minute=90)
    order = np.random.default_rng(0).permutation(len(LABELS))
    write_edf(root / "Subject00_2.edf", [LABELS[k] for k in order], signals[order])
    shuffled = eegmat(root).read("Subject00")
    for modality in ("eeg", "ecg"):
        np.testing.assert_array_equal(shuffled.signals[modality], expected.signals[modality])


def test_a_short_recording_gives_what_it_has(root: Path):
    write_edf(root / "Subject00_1.edf", LABELS, recording(31, beats_per_minute=60))
    windows = eegmat(root, stride=10).read("Subject00")
    assert windows.label.tolist() == [0] * 3 + [1] * 6
    assert windows.start[:3].tolist() == [0, 10, 20]
    write_edf(root / "Subject00_1.edf", LABELS, recording(9, beats_per_minute=60))
    with pytest.raises(InputError, match=r"Subject00_1.edf: 9 s long, a window takes 10 s; lower data.seconds"):
        eegmat(root).read("Subject00")


def test_the_average_reference_leaves_no_common_signal(root: Path):
    windows = eegmat(root, reference="average").read("Subject00")
    assert np.abs(windows.signals["eeg"].mean(axis=1)).max() < 1e-3
    assert windows.signals["eeg"].std() > 5


def test_the_band_pass_removes_what_lies_outside(root: Path):
    signals = recording(62, beats_per_minute=90)
    signals[0] += 50 * np.sin(2 * np.pi * 60 * np.arange(signals.shape[1]) / RATE) + 100
    write_edf(root / "Subject00_2.edf", LABELS, signals)
    windows = eegmat(root, eeg_bandpass=[0.5, 45]).read("Subject00")
    expected = 10 * np.sin(2 * np.pi * 3 * np.arange(2000) / 200)
    np.testing.assert_allclose(windows.signals["eeg"][windows.label == 1][2, 0], expected, atol=1.0)


def test_a_changed_recording_never_meets_a_stale_cache(root: Path, tmp_path: Path):
    for file in root.glob("Subject07_*"):  # whose EEG is the same
        file.unlink()
    before = cache.load(eegmat(root), "eeg", "ecg", tmp_path / "cache", progress=False)
    write_edf(root / "Subject00_2.edf", LABELS, recording(62, beats_per_minute=75))
    after = cache.load(eegmat(root), "eeg", "ecg", tmp_path / "cache", progress=False)
    assert before.content != after.content
    everything = np.arange(len(before))
    changed = (before.new.take(everything) != after.new.take(everything)).any(axis=(1, 2))
    assert set(before.recording[changed]) == {"Subject00_2"}


def rewritten(labels: list[str], signals: np.ndarray, rate: int = RATE):
    return lambda file: write_edf(file, labels, signals, rate)


def a_garbled_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    physical_minimum = 256 + len(LABELS) * (16 + 80 + 8)
    content[physical_minimum : physical_minimum + 8] = b"??????  "
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda file: os.truncate(file, 500_000), "500000 bytes, its header says"),
        (lambda file: os.truncate(file, 300), "not an EDF file"),
        (lambda file: file.write_text("time,Fp1\n0,1\n" * 100), "not an EDF file"),
        (rewritten(LABELS[:-1], recording(62, 60)[:-1]), "no ECG channel among EEG Fp1"),
        (rewritten(LABELS[-1:], recording(62, 60)[-1:]), "no EEG channel Fp1, Fp2"),
        (rewritten(LABELS[1:], recording(62, 60)[1:]), "no EEG channel Fp1 among"),
        (rewritten(LABELS, recording(62, 60)[:, ::2], rate=250), "sampled at 250 Hz, EEGMAT has 500 Hz"),
        (a_garbled_header, "its header gives no range of values for EEG Fp1"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named_in_one_line(root: Path, tmp_path: Path, damage, named: str):
    damage(root / "Subject07_2.edf")
    with pytest.raises(InputError, match=f"Subject07_2.edf: {re.escape(named)}") as caught:
        cache.load(eegmat(root), "eeg", "ecg", tmp_path / "cache", progress=False)
    assert "\n" not in str(caught.value)


def test_a_missing_root_or_recording_is_named(root: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"option data.root is not set; give the folder of SubjectNN_1.edf"):
        registry.build("eegmat")
    with pytest.raises(InputError, match=r"data.root .*nowhere: found nothing; give the folder"):
        eegmat(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"Subject00_1.edf: found a file; give the folder"):
        eegmat(root / "Subject00_1.edf")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no SubjectNN_1.edf and .* in it; download it"):
        eegmat(tmp_path / "empty").subjects()
    (root / "Subject00_1.edf").unlink()
    with pytest.raises(InputError, match=r"Subject00_1.edf: missing, .* remove the other recording of Subject00"):
        eegmat(root).subjects()
    with pytest.raises(InputError, match=r"Subject00_1.edf: missing; download it again"):
        eegmat(root).read("Subject00")


def test_the_real_recordings_give_windows_of_both_classes_from_every_subject(recordings: Path, tmp_path: Path):
    dataset = eegmat(recordings)
    windows = cache.load(dataset, "eeg", "ecg", tmp_path, progress=False)
    assert len(windows.subjects) == 24
    for k in range(24):
        assert np.bincount(windows.label[windows.subject == k]).tolist() == [11, 11]
    eeg = windows.old.take(np.arange(0, len(windows), 11))
    ecg = windows.new.take(np.arange(0, len(windows), 11))
    assert 3 < np.median(eeg.std(axis=-1)) < 30  # uV
    assert 0.5 < np.median(ecg.std(axis=-1)) < 1.5
    # Rest is its last minute, and 182 s long but for one subject.
    first = windows.start[np.flatnonzero(windows.recording == "Subject00_1")]
    np.testing.assert_allclose(first, 122 + 5 * np.arange(11))
    shortest = windows.start[np.flatnonzero(windows.recording == "Subject31_1")]
    np.testing.assert_allclose(shortest, 20 + 5 * np.arange(11))
    assert len(make_splits(windows.subject, registry.options_class("eegmat")().split, seed=0)) == 5


def test_the_real_files_are_as_long_as_their_headers_say(recordings: Path):
    assert all(read_header(file).file_bytes == file.stat().st_size for file in recordings.glob("*.edf"))
