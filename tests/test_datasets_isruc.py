"""ISRUC: small .mat sets and .rec recordings in the published form, against an independent preparation."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy import signal as sps

from benchmark.data import cache, registry
from benchmark.data.isruc import EEG
from benchmark.errors import InputError
from tests.formats import ISRUC_EEG, write_edf, write_isruc, write_isruc_labels

RATE = 200
STAGES = [0, 0, 1, 2, 3, 5, 2, 0]


def night(n_epochs: int, seed: int) -> dict[str, np.ndarray]:
    """Channel k is a sine of 2 + k Hz and 20 + k uV with a spike in each epoch; the ECG has the same spikes."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_epochs * 6000) / RATE
    spikes = np.zeros(len(time))
    spikes[marks(n_epochs)] = 1.0
    signals = {name: (20 + k) * np.sin(2 * np.pi * (2 + k) * time) + 400 * spikes for k, name in enumerate(ISRUC_EEG)}
    slow = 50 * np.sin(2 * np.pi * 1.1 * time) + 5 * rng.standard_normal(len(time))
    return {**signals, "X2": slow + 900 * sps.lfilter([0.2, 0.6, 1.0, 0.6, 0.2], 1, np.roll(spikes, -2))}


def marks(n_epochs: int) -> np.ndarray:
    """The sample of each epoch's spike, counted from the start of the night."""
    epoch = np.arange(n_epochs)
    return epoch * 6000 + 1000 + 437 * epoch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "isruc"
    for number in (2, 10):
        write_isruc(folder, number, {**night(8, number), "LOC_A2": np.zeros(48000)}, STAGES)
    return folder


def isruc(root: Path, **options):
    return registry.build("isruc", {"root": str(root), **options})


def test_epochs_are_counted_labelled_and_in_their_units(root: Path):
    dataset = isruc(root)
    assert dataset.subjects() == ["002", "010"]
    assert dataset.classes == ("wake", "sleep")
    windows = dataset.read("010")
    assert windows.label.tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert windows.start.tolist() == [30.0 * k for k in range(8)]
    eeg, ecg = dataset.spec("eeg"), dataset.spec("ecg")
    assert (eeg.channels, eeg.rate, eeg.n_samples, eeg.unit) == (("F3", "C3", "O1", "F4", "C4", "O2"), 200, 6000, "uV")
    assert (ecg.channels, ecg.rate, ecg.n_samples, ecg.unit) == (("X2",), 100, 3000, "z")
    time = np.arange(6000) / RATE
    for k in range(6):
        channel = windows.signals["eeg"][5, k].copy()
        channel[marks(8)[5] - 5 * 6000] -= 400
        np.testing.assert_allclose(channel, (20 + k) * np.sin(2 * np.pi * (2 + k) * time), atol=1e-3)


def test_the_five_stages_keep_their_order(root: Path):
    dataset = isruc(root, classes="stages")
    assert dataset.classes == ("W", "N1", "N2", "N3", "REM")
    assert dataset.read("002").label.tolist() == [0, 0, 1, 2, 3, 4, 2, 0]


def test_the_ecg_is_prepared_in_each_epoch_as_published(root: Path):
    """Against NumPy's interpolation and SciPy's filter, epoch by epoch."""
    windows = isruc(root).read("002").signals["ecg"]
    taps = sps.firwin(151, [0.05, 47], pass_zero="bandpass", fs=500)
    for epoch, found in zip(night(8, 2)["X2"].reshape(8, 6000), windows[:, 0], strict=True):
        up = np.interp(np.linspace(0, 5999, 15000), np.arange(6000), epoch)
        filtered = sps.filtfilt(taps, 1.0, up)
        down = np.interp(np.linspace(0, 14999, 3000), np.arange(15000), filtered)
        np.testing.assert_allclose(found, (down - down.mean()) / down.std(), atol=2e-4)
        assert abs(found.mean()) < 1e-5
        assert abs(found.std() - 1) < 1e-5


def test_both_modalities_show_the_same_moments_to_within_a_sample(root: Path):
    windows = isruc(root).read("002")
    expected = (marks(8) - 6000 * np.arange(8)) / RATE
    eeg = windows.signals["eeg"].sum(axis=1).argmax(axis=-1) / 200
    ecg = windows.signals["ecg"][:, 0].argmax(axis=-1) / 100
    assert np.abs(eeg - expected).max() < 1 / 200
    assert np.abs(ecg - expected).max() <= 1 / 100


def test_the_raw_recording_is_read_from_edf_whatever_the_order_rates_and_reference(root: Path):
    signals = night(8, 2)
    channels = {"SaO2": (np.full(38 * 30, 95.0), 1), "X2": (signals["X2"] / 3, RATE)}
    for name in reversed(ISRUC_EEG):
        channels[name.replace("_A", "-M")] = (np.pad(signals[name], (0, 6000)), RATE)
    channels["X2"] = (np.pad(signals["X2"] / 3, (0, 6000)), RATE)
    write_edf(root / "RawData" / "2" / "2.rec", channels, seconds=9 * 30)
    dataset = isruc(root, source="raw")
    assert dataset.subjects() == ["002"]
    raw, extracted = dataset.read("002"), isruc(root).read("002")
    assert raw.label.tolist() == extracted.label.tolist()
    # EDF holds the values to 1/128 uV; the scale of the ECG goes with its standardisation.
    np.testing.assert_allclose(raw.signals["eeg"], extracted.signals["eeg"], atol=0.01)
    np.testing.assert_allclose(raw.signals["ecg"], extracted.signals["ecg"], atol=0.01)


def test_a_channel_against_the_mastoid_is_the_same_channel(root: Path):
    expected = isruc(root).read("010")
    signals = {name.replace("_A", "_M"): signal for name, signal in night(8, 10).items()}
    write_isruc(root, 10, signals, STAGES)
    np.testing.assert_array_equal(isruc(root).read("010").signals["eeg"], expected.signals["eeg"])


def test_windows_go_through_the_cache_and_a_changed_label_never_meets_a_stale_one(root: Path, tmp_path: Path):
    write_isruc(root, 10, {name: 1.1 * signal for name, signal in night(8, 10).items()}, STAGES)  # not the EEG of 002
    before = cache.load(isruc(root), "eeg", "ecg", tmp_path / "cache", progress=False)
    assert np.bincount(before.label).tolist() == [6, 10]
    write_isruc_labels(root, 2, [5, *STAGES[1:]])
    after = cache.load(isruc(root), "eeg", "ecg", tmp_path / "cache", progress=False)
    everything = np.arange(len(before))
    assert before.content == after.content  # features of the windows are what they were, a teacher is not
    assert before.labels_key(everything) != after.labels_key(everything)
    assert np.bincount(after.label).tolist() == [5, 11]


def test_a_subject_may_be_left_out(root: Path):
    assert isruc(root, exclude=[10]).subjects() == ["002"]
    with pytest.raises(InputError, match=r"data.exclude names subject 040, .* has 2 subjects \(002 to 010\)"):
        isruc(root, exclude=[40]).subjects()
    with pytest.raises(InputError, match=r"data.exclude leaves no subject"):
        isruc(root, exclude=[2, 10]).subjects()


def signals(**changes: object):
    """A damage of the signals: ``changes`` are channels to put in place, or None to leave out."""

    def damage(root: Path) -> None:
        channels = {name: signal.reshape(8, 6000) for name, signal in night(8, 2).items()} | changes
        kept = {name: values for name, values in channels.items() if values is not None}
        scipy.io.savemat(root / "ExtractedChannels" / "subject2.mat", kept)

    return damage


def content(change):
    """A damage of the bytes of the signals' file."""

    def damage(root: Path) -> None:
        file = root / "ExtractedChannels" / "subject2.mat"
        file.write_bytes(change(file.read_bytes()))

    return damage


WITH_NAN = night(8, 2)["C3_A2"].reshape(8, 6000)
WITH_NAN[3, 5] = np.nan


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda root: write_isruc_labels(root, 2, STAGES[:-1]),
            "subject2.mat: channel F3_A2 has 8 epochs, the labels without the last 30 are 7",
        ),
        (
            lambda root: write_isruc_labels(root, 2, [7, *STAGES[1:]]),
            "2_1.txt: line 1 is '7'; a label is one of 0 (W), 1 (N1)",
        ),
        (lambda root: write_isruc_labels(root, 2, []), "2_1.txt: 30 labels, of which the last 30 are not used"),
        (signals(X2=None), "subject2.mat: no channel X2 among F3_A2"),
        (signals(O2_A1=None), "subject2.mat: no channel O2_A1 or O2_M1 among F3_A2"),
        (signals(F3_A2=np.zeros((8, 3000))), "subject2.mat: channel F3_A2 has shape (8, 3000), not (epochs, 6000)"),
        (signals(F3_A2="text"), "subject2.mat: variable F3_A2 holds <U4, not numbers"),
        (signals(C3_A2=WITH_NAN), "channel C3_A2 holds values that are not finite, the first in epoch 3"),
        (content(lambda whole: whole[:-1000]), "subject2.mat: not a whole MATLAB file"),
        (content(lambda whole: b"epoch,F3\n" * 1000), "subject2.mat: not a whole MATLAB file"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named_in_one_line(root: Path, tmp_path: Path, damage, named: str):
    damage(root)
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        cache.load(isruc(root), "eeg", "ecg", tmp_path / "cache", progress=False)
    assert "\n" not in str(caught.value)


def test_a_raw_recording_that_does_not_fit_its_labels_is_named(root: Path):
    signals = {name: (signal[: 7 * 6000], RATE) for name, signal in night(8, 2).items()}
    channels = {name.replace("_", "-"): values for name, values in signals.items()}
    file = root / "RawData" / "2" / "2.rec"
    write_edf(file, channels, seconds=210)
    with pytest.raises(InputError, match=r"2.rec: 210 s long, its 8 labels take 240 s"):
        isruc(root, source="raw").read("002")
    write_edf(file, {**channels, "F3-A2": (channels["F3-A2"][0][::2], 100)}, seconds=210)
    with pytest.raises(InputError, match=r"2.rec: F3-A2 is sampled at 100 Hz, ISRUC has 200 Hz"):
        isruc(root, source="raw").read("002")
    write_edf(file, {name: values for name, values in channels.items() if name != "C4-A1"}, seconds=210)
    with pytest.raises(InputError, match=r"2.rec: no channel C4-A1 or C4-M1 among F3-A2"):
        isruc(root, source="raw").read("002")
    write_edf(file, channels, seconds=210)
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"2.rec: \d+ bytes, its header says \d+; it was cut short"):
        isruc(root, source="raw").read("002")


def test_a_missing_root_file_or_label_is_named(root: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"option data.root is not set; give the folder of ExtractedChannels/"):
        registry.build("isruc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no ExtractedChannels/subjectN.mat and .* in it; download it"):
        isruc(tmp_path / "empty").subjects()
    with pytest.raises(InputError, match=r"no RawData/N/N.rec and .* in it"):
        isruc(root, source="raw").subjects()
    (root / "RawData" / "2" / "2_1.txt").unlink()
    with pytest.raises(InputError, match=r"2_1.txt: missing, .* data.exclude=\[2\]"):
        isruc(root).subjects()


def test_a_stage_that_the_recording_cannot_take_names_the_file(root: Path):
    with pytest.raises(InputError, match=r"subject2.mat: preparation stage bandpass_fir: 120 Hz is not below half"):
        isruc(root, ecg=[{"bandpass_fir": [1, 120]}]).read("002")


def test_the_order_of_channels_is_the_papers():
    assert tuple(EEG) == ("F3", "C3", "O1", "F4", "C4", "O2")
