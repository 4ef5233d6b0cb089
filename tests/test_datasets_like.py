"""Simulated data in the shapes of the published sets: what is measured of them, by independent features."""

from functools import cache as cache_calls

import numpy as np
import pytest
from scipy import signal as sps
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.data import cache, registry
from benchmark.data.base import SubjectWindows
from benchmark.data.signals.spec import SignalSpec
from benchmark.data.simulated import electrophysiology
from benchmark.data.splits import splits_of
from benchmark.encoders import registry as encoders
from benchmark.errors import InputError
from benchmark.frozen.loading import load_data
from benchmark.registry import configure
from tests.conftest import changed

DIRECTIONS = ("wesad_ppg2ecg", "wesad_ecg2ppg", "isruc_eeg2ecg", "isruc_ecg2eeg", "fog_eeg2emg", "fog_emg2eeg")
SHORT = {"wesad": {"condition_seconds": 120}, "isruc": {"condition_seconds": 600}, "fog": {"condition_seconds": 30}}


def simulated(like: str | None, **options):
    return registry.build("simulated", {"like": like, **options})


@pytest.mark.parametrize("like", ["wesad", "isruc", "fog"])
def test_the_shape_is_that_of_the_reader_of_the_published_files(like: str, tmp_path):
    """Channels, rates, lengths, units and classes, as the reader of the true files says them."""
    reader = registry.build(like, {"root": str(tmp_path)})
    dataset = simulated(like)
    assert dataset.modalities == reader.modalities
    assert len(dataset.classes) == len(reader.classes)
    assert dataset.classes == reader.classes
    for modality in reader.modalities:
        assert dataset.spec(modality) == reader.spec(modality)
    assert dataset.name == f"simulated-{like}"


@pytest.mark.parametrize(
    ("like", "published"),
    [("wesad", [1112, 607, 312]), ("isruc", [4687, 14550]), ("fog", [134, 88])],  # of FOG: minutes
)
def test_classes_are_as_unbalanced_as_published(like: str, published: list[int]):
    counts = sum(np.bincount(windows.label, minlength=len(published)) for windows in everyone(like, 1.0))
    np.testing.assert_allclose(counts / counts.sum(), np.array(published) / sum(published), atol=0.08)


@pytest.mark.parametrize("like", ["wesad", "isruc", "fog"])
def test_a_subject_is_the_same_in_every_run_and_has_every_class(like: str):
    dataset = simulated(like)
    for k, subject in enumerate(dataset.subjects()[:3]):
        first, again = everyone(like, 1.0)[k], simulated(like, subjects=40).read(subject)
        assert set(first.label) == set(range(len(dataset.classes)))
        for modality in dataset.modalities:
            np.testing.assert_array_equal(first.signals[modality], again.signals[modality])
            spec = dataset.spec(modality)
            assert first.signals[modality].shape == (len(first.label), spec.n_channels, spec.n_samples)
    other = simulated(like, seed=1).read("S000")
    modality = dataset.modalities[0]
    assert not np.array_equal(other.signals[modality], everyone(like, 1.0)[0].signals[modality])


def bands(windows: np.ndarray, rate: float) -> np.ndarray:
    """Log power in the classical bands, (n, C * 6)."""
    frequency, power = sps.welch(windows, rate, nperseg=int(2 * rate), axis=-1)
    edges = ((0.5, 4), (4, 8), (8, 12), (12, 15), (15, 30), (30, 60))
    parts = [power[..., (frequency >= low) & (frequency < high)].mean(-1) for low, high in edges]
    return np.log(np.concatenate(parts, axis=-1) + 1e-9)


def beats(windows: np.ndarray, rate: float) -> np.ndarray:
    """Heart rate and its changes, and how steep the ECG is, (n, 4)."""
    rows = []
    for window in windows[:, 0]:
        steep = np.convolve(np.gradient(window) ** 2, np.ones(9), "same")
        peaks = sps.find_peaks(steep, height=0.3 * np.quantile(steep, 0.98), distance=35)[0]
        speed = 60 * rate / np.diff(peaks)
        change = np.log(np.abs(np.diff(speed)).mean() + 0.1)
        rows.append([np.median(speed), np.log(speed.std() + 0.1), change, np.log(np.abs(np.diff(window)).mean())])
    return np.array(rows)


def tremor(windows: np.ndarray, rate: float) -> np.ndarray:
    """Log power of the rectified EMG around the stride and around the tremor, (n, 15)."""
    frequency, power = sps.welch(np.abs(windows), rate, nperseg=windows.shape[-1], axis=-1)
    edges = ((0.3, 1.2), (1.2, 2.5), (2.5, 4), (4, 6.5), (6.5, 10))
    parts = [power[..., (frequency >= low) & (frequency < high)].mean(-1) for low, high in edges]
    return np.log(np.concatenate(parts, axis=-1) + 1e-9)


FEATURES = {"eeg": bands, "ecg": beats, "emg": tremor}


@cache_calls
def everyone(like: str, effect: float) -> list[SubjectWindows]:
    """Twelve subjects of a shape, read once for all tests that look at them."""
    dataset = simulated(like, effect=effect, subjects=12)
    return [dataset.read(subject) for subject in dataset.subjects()]


def across_subjects(like: str, modality: str, effect: float = 1.0) -> float:
    read = everyone(like, effect)
    label = np.concatenate([windows.label for windows in read])
    subject = np.repeat(np.arange(len(read)), [len(windows.label) for windows in read])
    rate = simulated(like).spec(modality).rate
    features = np.concatenate([FEATURES[modality](windows.signals[modality], rate) for windows in read])
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    predicted = cross_val_predict(model, features, label, groups=subject, cv=GroupKFold(4))
    return balanced_accuracy_score(label, predicted)


@pytest.mark.parametrize(
    ("like", "modality", "least"),
    [("isruc", "eeg", 0.8), ("isruc", "ecg", 0.65), ("fog", "eeg", 0.62), ("fog", "emg", 0.8)],
)
def test_hand_made_features_find_the_state_in_other_subjects_but_not_always(like: str, modality: str, least: float):
    assert least < across_subjects(like, modality) < 0.985


@pytest.mark.parametrize(("like", "modality"), [("isruc", "eeg"), ("isruc", "ecg"), ("fog", "eeg"), ("fog", "emg")])
def test_without_an_effect_there_is_nothing_to_find(like: str, modality: str):
    assert across_subjects(like, modality, effect=0.0) < 0.6


def test_rhythms_of_sleep_are_where_they_are_described():
    """Alpha over the back of the head when awake, slow waves and spindles in deeper sleep: within each sleeper."""
    dataset = simulated("isruc")
    channels = dataset.spec("eeg").channels
    found: dict[tuple[str, ...], list[float]] = {}
    for subject, windows in zip(dataset.subjects(), everyone("isruc", 1.0), strict=False):
        stage = dataset.simulate(subject).states.at(windows.start + 15)
        power = bands(windows.signals["eeg"], 200).reshape(len(stage), 6, 6)  # (windows, band, channel)

        def mean(name: str, band: int, channel: str, power=power, stage=stage) -> float:
            mine = power[stage == electrophysiology.STAGES.index(name), band, channels.index(channel)]
            return float(mine.mean()) if len(mine) > 2 else np.nan

        for band, name, channel, other, place in (
            (2, "W", "O1", "N2", "O1"),
            (2, "W", "O1", "W", "F3"),
            (0, "N3", "F3", "N1", "F3"),
            (3, "N2", "C3", "REM", "C3"),
        ):
            key = (name, channel, other, place)
            found.setdefault(key, []).append(mean(name, band, channel) - mean(other, band, place))
    for key, differences in found.items():
        assert np.nanmedian(differences) > 0.4, key
        assert np.isfinite(differences).sum() >= 3, key


def test_the_legs_step_in_turn_when_walking_and_tremble_when_frozen():
    dataset = simulated("fog", noise=0.0, condition_seconds=120)
    session = dataset.simulate("S001")
    envelope = sps.sosfiltfilt(sps.butter(2, 12, fs=500, output="sos"), np.abs(session.signals["emg"]), axis=-1)
    state = session.states.at(np.arange(envelope.shape[1]) / 500)
    spectra = {}
    for k, name in enumerate(session.states.names):
        frequency, power = sps.welch(envelope[2][state == k], 500, nperseg=2000)
        spectra[name] = np.cumsum(power[frequency > 0.3]) / power[frequency > 0.3].sum()
    above = {name: 1 - spectrum[np.searchsorted(frequency[frequency > 0.3], 3.8)] for name, spectrum in spectra.items()}
    assert above["freezing"] > 1.5 * above["walking"]


def test_one_heart_shows_in_both_sensors():
    """Averaged over the beats: the EEG of the sleeper and the EMG of the walker have a deflection at each."""
    for like, modality in (("isruc", "eeg"), ("fog", "emg")):
        dataset = simulated(like, noise=0.0, **({"condition_seconds": 900} if like == "fog" else {}))
        scores = []
        for subject in ("S000", "S001", "S002"):
            session = dataset.simulate(subject)
            rate = session.rate[modality]
            signal = session.signals[modality].mean(axis=0)
            at = np.rint(session.beats[5:-5] * rate).astype(int)
            far = at + round(0.3 * rate)
            scores.append((signal[at].mean() - signal[far].mean()) / (signal[at].std() / np.sqrt(len(at))))
        assert np.sum(scores) / np.sqrt(3) > 5, scores


def test_the_heart_slows_down_in_deep_sleep():
    dataset = simulated("isruc")
    change = []
    for subject in dataset.subjects()[:10]:
        session = dataset.simulate(subject)
        rate = 60 / np.diff(session.beats)
        stage = session.states.at(session.beats[1:])
        if (stage == 3).sum() > 50:
            change.append(np.median(rate[stage == 0]) - np.median(rate[stage == 3]))
    assert np.mean(change) > 5


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_direction_runs_on_simulated_data_of_its_shape(direction: str, tmp_path):
    """The words of the issue: data=simulated alone gives the shape, tiny encoders and a split without leaks."""
    loaded = configure([f"experiment={direction}", "data=simulated", f"cache={tmp_path}"])
    like = direction.split("_")[0]
    assert loaded.plain()["data"]["like"] == like
    for chosen in (loaded.old, loaded.new):
        assert (chosen.preset, chosen.weights) == ("tiny", "local")
    assert loaded.teacher.solver == "lbfgs"
    data = load_data(changed(loaded, data={**SHORT[like], "subjects": 6}))
    assert all(split.leakage == "none" for split in splits_of(data, loaded.data.split, loaded.seed))
    for chosen, windows in ((loaded.old, data.old), (loaded.new, data.new)):
        encoder = encoders.build(chosen.name, windows.spec, preset="tiny", device="cpu")
        assert encoder(encoder.inputs(windows.take(np.arange(2)))).shape[0] == 2


def test_what_the_user_says_of_the_encoders_and_the_shape_goes_before():
    loaded = configure(["experiment=fog_emg2eeg", "data=simulated", "old.preset=base", "data.subjects=3"]).plain()
    assert loaded["old"]["preset"] == "base"
    assert loaded["new"]["preset"] == "tiny"
    assert loaded["data"]["subjects"] == 3
    assert configure(["experiment=fog_emg2eeg", "data=simulated", "data.like=isruc"]).plain()["data"]["like"] == "isruc"


PAPER = {
    "wesad_ppg2ecg": ("ppg", "papagei", "s", "ecg", "hubert_ecg", "small", "finetune", 1e-4, 32, False, (5, 2, 5, 3)),
    "wesad_ecg2ppg": ("ecg", "hubert_ecg", "small", "ppg", "papagei", "s", "probe", 1e-5, 32, True, (5, 2, 5, 3)),
    "isruc_eeg2ecg": ("eeg", "labram", "base", "ecg", "hubert_ecg", "small", "probe", 5e-4, 64, True, (33, 11, 33, 22)),
    "isruc_ecg2eeg": ("ecg", "hubert_ecg", "small", "eeg", "labram", "base", "probe", 1e-4, 64, True, (33, 11, 33, 22)),
    "fog_eeg2emg": ("eeg", "labram", "base", "emg", "normwear", "base", "probe", 1e-2, 64, False, (33, 11, 33, 22)),
    "fog_emg2eeg": ("emg", "normwear", "base", "eeg", "labram", "base", "finetune", 1e-4, 16, False, (33, 11, 33, 22)),
}
POINTS = {  # i, j, r, P, learning rate, epochs, loss
    "wesad_ppg2ecg": (7, 11, 32, 50, 1e-4, 50, "cosine"),
    "wesad_ecg2ppg": (4, 2, 8, 150, 1e-6, 100, "cosine"),
    "isruc_eeg2ecg": (7, 2, 32, 300, 1e-5, 50, "cosine"),
    "isruc_ecg2eeg": (11, 0, 4, 200, 1e-4, 50, "cosine"),
    "fog_eeg2emg": (3, 11, 256, 200, 1e-5, 100, "infonce"),
    "fog_emg2eeg": (6, 10, 8, 50, 1e-4, 100, "cosine"),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_papers_settings_are_the_defaults(direction: str):
    loaded = configure([f"experiment={direction}"]).plain()
    old, new, teacher = loaded["old"], loaded["new"], loaded["teacher"]
    split = loaded["data"]["split"]
    solver = teacher["solver"] if teacher["training"] == "probe" else "adam"
    assert solver == "adam"
    assert (
        *(old[key] for key in ("modality", "name", "preset")),
        *(new[key] for key in ("modality", "name", "preset")),
        *(teacher[key] for key in ("training", "learning_rate", "batch_size", "class_weighted")),
        tuple(split[part] for part in ("train", "val", "pair", "test")),
    ) == PAPER[direction]
    assert old["weights"] == new["weights"] == "released"
    assert split["kind"] == "paper"
    assert loaded["data"]["name"] == direction.split("_")[0]
    assert split.get("units", "subjects") == ("windows" if direction.startswith("fog") else "subjects")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_paper_space_holds_exactly_the_published_point(direction: str):
    loaded = configure([f"experiment={direction}", "search.space=paper"]).plain()
    bridge = loaded["bridge"]
    found = (bridge["input"], bridge["output"], bridge["rank"], bridge["prototypes"], bridge["learning_rate"])
    assert (*found, bridge["epochs"], bridge["loss"]) == POINTS[direction]
    assert (bridge["batch_size"], bridge["loss_at"]) == (16, "last_layer")
    assert (bridge["objective"], bridge["init"], bridge["standardise"]) == ("published", "rand", False)
    assert loaded["search"]["trials"] == 1
    # Nothing is left to search.
    assert all(value is not None for value in bridge.values())


def test_modalities_of_another_shape_are_refused(tmp_path):
    with pytest.raises(InputError, match="data set simulated-fog has no 'ecg' for the old modality; it has eeg, emg"):
        cache.load(simulated("fog"), "ecg", "emg", tmp_path, progress=False)


def test_no_sequence_of_states_is_shorter_than_its_recording():
    rng = np.random.default_rng(0)
    for duration in (5.0, 60.0, 900.0):
        states = electrophysiology.walk(rng, duration)
        assert states.onset[0] == 0
        assert (np.diff(states.onset) >= 3).all()
        assert set(np.diff(states.index)) <= {-1, 1}
    states = electrophysiology.night(rng, 500, 30.0, 4.0)
    assert states.at(np.array([0.0]))[0] == 0
    assert (np.diff(states.onset) > 0).all()
    assert isinstance(simulated("fog").spec("emg"), SignalSpec)
