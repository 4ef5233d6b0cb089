"""The simulated hearts: the same beats in both sensors, as an independent detector sees them."""

import numpy as np
import pytest
from scipy.signal import find_peaks
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.data import registry
from benchmark.data.simulated.sensors import WAVE_HEIGHT


def simulated(**options):
    return registry.build("simulated", {"subjects": 4, **options})


def nearest(times: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Seconds from each reference to the nearest time."""
    right = np.clip(np.searchsorted(times, reference), 1, len(times) - 1)
    return np.minimum(np.abs(times[right] - reference), np.abs(times[right - 1] - reference))


@pytest.mark.parametrize("subject", ["S000", "S001", "S007"])
def test_detectors_find_the_same_beats_in_both_sensors(subject: str):
    neurokit = pytest.importorskip("neurokit2", reason="needs the dev extra: neurokit2 is the independent detector")
    session = simulated(noise=0.3).simulate(subject)
    ecg_rate, ppg_rate = int(session.rate["ecg"]), int(session.rate["ppg"])
    inner = (session.beats > 2) & (session.beats < session.beats[-1] - 2)
    cleaned = neurokit.ecg_clean(session.signals["ecg"][0], sampling_rate=ecg_rate)
    peaks = neurokit.ecg_peaks(cleaned, sampling_rate=ecg_rate)[1]["ECG_R_Peaks"] / ecg_rate
    assert np.quantile(nearest(peaks, session.beats[inner]), 0.98) < 0.02
    assert abs(len(peaks) - len(session.beats)) <= 0.02 * len(session.beats) + 2
    cleaned = neurokit.ppg_clean(session.signals["ppg"][0], sampling_rate=ppg_rate)
    pulses = neurokit.ppg_findpeaks(cleaned, sampling_rate=ppg_rate)["PPG_Peaks"] / ppg_rate
    # The systolic peak comes 0.17 s (for an interval of 1 s) after the foot, which comes a transit time after the beat.
    delay = 0.17 * np.sqrt(np.diff(session.feet, append=session.feet[-1] + 0.9))
    assert np.quantile(nearest(pulses, (session.feet + delay)[inner]), 0.95) < 0.06
    assert abs(len(pulses) - len(session.beats)) <= 0.03 * len(session.beats) + 2


def test_prepared_windows_of_both_sensors_stay_aligned():
    dataset = simulated(noise=0.0)
    session, windows = dataset.simulate("S002"), dataset.read("S002")
    for k in range(0, len(windows.label), 3):
        beats = session.beats - windows.start[k]
        feet = session.feet - windows.start[k]
        inside = (beats > 0.5) & (beats < 9)
        r_peaks = find_peaks(windows.signals["ecg"][k, 0], height=1.5, distance=35)[0] / 100
        assert nearest(r_peaks, beats[inside]).max() < 0.03
        pulses = find_peaks(windows.signals["ppg"][k, 0], prominence=0.8, distance=50)[0] / 125
        assert nearest(pulses, feet[inside] + 0.16).max() < 0.08


def test_pulses_follow_their_beats_by_the_transit_time():
    session = simulated().simulate("S000")
    assert len(session.beats) == len(session.feet)
    transit = session.feet - session.beats
    assert ((transit > 0.12) & (transit < 0.4)).all()
    intervals = np.diff(session.beats)
    assert ((intervals > 0.33) & (intervals < 1.5)).all()


def test_the_r_wave_is_one_millivolt_and_the_tallest():
    assert WAVE_HEIGHT[2] == 1
    assert np.abs(WAVE_HEIGHT).argmax() == 2


def test_windows_are_counted_labelled_and_cut_within_their_condition():
    dataset = simulated(condition_seconds=45, seconds=10, stride=5)
    session, windows = dataset.simulate("S001"), dataset.read("S001")
    assert np.bincount(windows.label).tolist() == [8, 8, 8]
    for k, start in zip(windows.label, windows.start, strict=True):
        onset = session.onset[dataset.classes[k]]
        assert onset <= start
        assert start + 10 <= onset + 45
    for modality, rate in (("ecg", 100), ("ppg", 125)):
        spec = dataset.spec(modality)
        assert windows.signals[modality].shape == (24, spec.n_channels, spec.n_samples) == (24, 1, 10 * rate)
        assert (spec.rate, spec.unit, spec.seconds) == (rate, "z", 10)
        # Standardised over the recording, not over each window: states may differ in amplitude.
        assert windows.signals[modality].std(axis=-1).std() > 0.02


def test_baseline_comes_first_and_the_other_two_in_either_order():
    dataset = simulated()
    orders = {tuple(sorted(o := dataset.simulate(f"S{k:03d}").onset, key=o.get)) for k in range(12)}
    assert orders == {("baseline", "stress", "amusement"), ("baseline", "amusement", "stress")}


def test_a_subject_is_the_same_in_every_run_and_among_any_number():
    first, again = simulated().read("S003"), simulated(subjects=40).read("S003")
    for modality in ("ecg", "ppg"):
        np.testing.assert_array_equal(first.signals[modality], again.signals[modality])
        assert not np.array_equal(first.signals[modality], simulated(seed=1).read("S003").signals[modality])
        assert not np.array_equal(first.signals[modality], simulated().read("S002").signals[modality])


def test_one_sensor_does_not_change_with_the_other_ones_options():
    first, other = simulated().read("S000"), simulated(ppg_rate=100).read("S000")
    np.testing.assert_array_equal(first.signals["ecg"], other.signals["ecg"])
    assert not np.array_equal(first.signals["ppg"], other.signals["ppg"])


def heart_rates(dataset, n_subjects: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From the R peaks in the ECG windows: mean rate and its log deviation, and height of the T wave."""
    rows, labels, groups = [], [], []
    for k in range(n_subjects):
        windows = dataset.read(f"S{k:03d}")
        for window, label in zip(windows.signals["ecg"][:, 0], windows.label, strict=True):
            steep = np.convolve(np.gradient(window) ** 2, np.ones(9), "same")
            peaks = find_peaks(steep, height=0.3 * np.quantile(steep, 0.98), distance=35)[0]
            rate = 6000 / np.diff(peaks)
            after = [window[p + 14 : p + 45].max() - np.median(window[p - 30 : p + 45]) for p in peaks[1:-1]]
            rows.append([np.median(rate), np.log(rate.std() + 0.1), np.median(after)])
            labels.append(label)
            groups.append(k)
    return np.array(rows), np.array(labels), np.array(groups)


def test_hand_made_features_find_the_state_in_other_subjects_but_not_always():
    features, label, subject = heart_rates(simulated(subjects=16), 16)
    train = subject < 10
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[train], label[train])
    accuracy = balanced_accuracy_score(label[~train], model.predict(features[~train]))
    assert 0.5 < accuracy < 0.95


def test_without_an_effect_there_is_nothing_to_find():
    features, label, subject = heart_rates(simulated(subjects=16, effect=0.0), 16)
    train = subject < 10
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features[train], label[train])
    assert balanced_accuracy_score(label[~train], model.predict(features[~train])) < 0.5
