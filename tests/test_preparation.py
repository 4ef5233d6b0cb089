import numpy as np
import pytest

from benchmark.data import registry
from benchmark.data.signals.preparation import (
    CHUNK,
    STAGES,
    cut,
    label_windows,
    prepare,
    prepare_windows,
    prepared_rate,
    prepared_unit,
    starts_of,
)
from benchmark.errors import InputError


def sine(frequency: float, rate: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def amplitude(signal: np.ndarray) -> float:
    """Of the middle half, away from the edges."""
    n = len(signal)
    return float(np.abs(signal[n // 4 : 3 * n // 4]).max())


def test_linear_resampling_keeps_both_end_points_and_straight_lines():
    line = np.linspace(-3.0, 5.0, 71)
    resampled, rate = prepare(line, 700, [{"resample_linear": 100}])
    assert rate == 100
    np.testing.assert_allclose(resampled, np.linspace(-3.0, 5.0, 10), atol=1e-12)
    values = np.random.default_rng(0).standard_normal((2, 3, 250))
    resampled, _ = prepare(values, 250, [{"resample_linear": 500}])
    assert resampled.shape == (2, 3, 500)
    np.testing.assert_array_equal(resampled[..., [0, -1]], values[..., [0, -1]])
    expected = np.interp(np.linspace(0, 249, 500), np.arange(250), values[1, 2])
    np.testing.assert_allclose(resampled[1, 2], expected, atol=1e-12)


@pytest.mark.parametrize("stage", ["resample_linear", "resample_fft", "resample_poly"])
@pytest.mark.parametrize(("old", "new"), [(500, 200), (64, 125), (250, 500), (200, 200)])
def test_every_resampling_keeps_a_slow_sine_in_place(stage: str, old: float, new: float):
    resampled, rate = prepare(sine(3, old, 8), old, [{stage: new}])
    assert rate == new
    assert resampled.shape == (8 * new,)
    middle = slice(2 * new, 6 * new)
    # Aligned end points stretch the time axis by up to one sample; linear interpolation rounds the peaks off.
    tolerance = 0.35 if stage == "resample_linear" else 5e-3
    np.testing.assert_allclose(resampled[middle], sine(3, new, 8)[middle], atol=tolerance)


def test_polyphase_resampling_removes_what_the_new_rate_cannot_hold():
    resampled, _ = prepare(sine(180, 500, 10), 500, [{"resample_poly": 200}])
    assert amplitude(resampled) < 0.01


def test_fir_band_pass_is_zero_phase_and_stops_mains_hum():
    rate = 500
    kept, _ = prepare(sine(10, rate, 20), rate, [{"bandpass_fir": [0.05, 47]}])
    np.testing.assert_allclose(kept[2500:7500], sine(10, rate, 20)[2500:7500], atol=0.02)
    stopped, _ = prepare(sine(60, rate, 20), rate, [{"bandpass_fir": [0.05, 47]}])
    assert amplitude(stopped) < 0.01


def test_chebyshev_band_pass_is_zero_phase_and_removes_drift():
    rate = 125
    kept, _ = prepare(sine(2, rate, 40), rate, [{"bandpass_chebyshev": [0.5, 12]}])
    scale = amplitude(kept)
    assert 0.85 < scale < 1.01  # 0.5 dB of ripple, twice
    np.testing.assert_allclose(kept[1250:3750] / scale, sine(2, rate, 40)[1250:3750], atol=0.03)
    for outside in (0.1, 30.0):
        assert amplitude(prepare(sine(outside, rate, 40), rate, [{"bandpass_chebyshev": [0.5, 12]}])[0]) < 0.02


def test_standardised_rows_have_zero_mean_and_unit_variance_and_a_flat_row_becomes_zeros():
    rows = np.stack([np.random.default_rng(1).normal(4, 3, 1000), np.full(1000, 0.1)])
    z, _ = prepare(rows, 100, [{"zscore": "recording"}])
    assert abs(z[0].mean()) < 1e-12
    assert abs(z[0].std() - 1) < 1e-12
    assert not z[1].any()


def test_values_too_large_to_be_a_signal_are_refused():
    with pytest.raises(InputError, match="zscore met values too large"):
        prepare(np.array([[1.0, 2.0, 1e300, -1e300]]), 100, [{"zscore": "recording"}])


def test_stages_behind_each_see_windows_by_themselves_and_those_before_it_the_recording():
    rng = np.random.default_rng(5)
    recording = rng.standard_normal((2, 20_000))
    starts = 10.0 * np.arange(10)
    filtered = [{"bandpass_fir": [1, 40]}]
    apart, rate = prepare_windows(recording, 200, [{"each": "window"}, *filtered], starts, 10)
    whole, _ = prepare_windows(recording, 200, filtered, starts, 10)
    by_hand = np.stack([prepare(recording[:, 2000 * k : 2000 * (k + 1)], 200, filtered)[0] for k in range(10)])
    assert rate == 200
    np.testing.assert_allclose(apart, by_hand, atol=1e-5)
    assert np.abs(apart - whole)[..., :50].max() > 0.05  # the edges of a window are edges only where it is by itself
    np.testing.assert_allclose(apart[..., 500:1500], whole[..., 500:1500], atol=1e-4)


def test_many_windows_are_prepared_in_parts_with_the_same_numbers():
    recording = np.random.default_rng(6).standard_normal((1, 100 * (CHUNK + 7)))
    stages = [{"each": "window"}, {"resample_linear": 50}, {"zscore": "window"}]
    starts = 1.0 * np.arange(CHUNK + 7)
    together, _ = prepare_windows(recording, 100, stages, starts, 1)
    alone = np.concatenate(
        [prepare_windows(recording, 100, stages, starts[k : k + 1], 1)[0] for k in range(len(starts))]
    )
    np.testing.assert_array_equal(together, alone)
    none, rate = prepare_windows(recording, 100, stages, starts[:0], 1)
    assert none.shape == (0, 1, 50)
    assert rate == 50


@pytest.mark.parametrize(
    ("duration", "seconds", "stride", "expected"),
    [(10, 3, 0.3, 24), (2.9, 3, 0.3, 0), (3, 3, 0.3, 1), (60, 60, 5, 1), (64.999, 60, 5, 1), (65, 60, 5, 2)],
)
def test_windows_start_every_stride_as_long_as_they_fit(duration, seconds, stride, expected):
    starts = starts_of(duration, seconds, stride)
    assert len(starts) == expected
    np.testing.assert_allclose(starts, stride * np.arange(expected))


@pytest.mark.parametrize(("share", "kept"), [(1.0, [0, 1, 6]), (0.8, [0, 1, 2, 5, 6]), (0.6, [0, 1, 2, 3, 4, 5, 6])])
def test_a_window_has_the_label_of_most_of_its_samples_where_these_are_enough(share: float, kept: list[int]):
    label = np.repeat([7, 2], 500)
    starts = np.array([0.0, 3.0, 4.2, 4.4, 4.6, 4.8, 5.0])
    found, enough = label_windows(label, 100, starts, 1.0, share)
    assert np.flatnonzero(enough).tolist() == kept if share > 0.6 else enough.all()
    assert found.tolist() == [7, 7, 7, 7, 2, 2, 2]


def test_standardisation_by_window_differs_from_standardisation_by_recording():
    growing = np.linspace(1, 10, 1000) * sine(5, 100, 10)
    starts = np.array([0.0, 8.0])
    by_recording, _ = prepare_windows(growing[None], 100, [{"zscore": "recording"}], starts, 2)
    by_window, _ = prepare_windows(growing[None], 100, [{"zscore": "window"}], starts, 2)
    np.testing.assert_allclose(by_window.std(axis=-1), 1, atol=1e-6)
    assert by_recording[1].std() > 3 * by_recording[0].std()


def test_windows_begin_at_their_second_after_the_change_of_rate():
    seconds = np.arange(60 * 50) / 50
    windows, rate = prepare_windows(np.stack([seconds, -seconds]), 50, [{"resample_poly": 200}], np.arange(3) * 7.5, 10)
    assert windows.shape == (3, 2, 2000)
    assert windows.dtype == np.float32
    assert rate == 200
    np.testing.assert_allclose(windows[:, 0, 0], [0, 7.5, 15], atol=0.02)
    np.testing.assert_array_equal(windows[:, 1], -windows[:, 0])


def test_rounding_never_puts_a_window_beyond_the_recording():
    """15 s at 6.5 Hz are 97.5 samples: start and length may both be rounded up."""
    starts = starts_of(30, 15, 15)
    windows, _ = prepare_windows(np.arange(120.0)[None], 4, [{"resample_linear": 6.5}], starts, 15)
    assert windows.shape == (2, 1, 98)
    assert windows[1, 0, -1] == 119
    label, pure = label_windows(np.repeat([0, 1], [97, 98]), 6.5, starts, 15, 0.98)
    assert label.tolist() == [0, 1]
    assert pure.all()


def test_a_window_beyond_the_recording_is_refused():
    with pytest.raises(ValueError, match="leave the signal"):
        cut(np.zeros((1, 1000)), 100, np.array([0.5]), 10)


@pytest.mark.parametrize(
    ("name", "modality", "rate", "expected"),
    [
        ("wesad", "ecg", 700, (100, "z")),
        ("wesad", "ppg", 64, (125, "z")),
        ("eegmat", "eeg", 500, (200, "uV")),
        ("fog", "emg", 500, (130, "z")),
    ],
)
def test_rate_and_unit_are_known_before_anything_is_read(name: str, modality: str, rate: int, expected):
    stages = getattr(registry.options_of(name), modality)
    assert (prepared_rate(rate, stages), prepared_unit("uV", stages)) == expected
    signal, after = prepare(np.random.default_rng(0).standard_normal(rate * 20), rate, stages)
    assert after == expected[0]
    assert len(signal) == 20 * after


def test_an_unknown_stage_is_named_with_the_close_ones():
    with pytest.raises(InputError, match=r"'bandpas_fir'.*did you mean bandpass_fir"):
        prepare(np.zeros(1000), 100, [{"bandpas_fir": [1, 2]}])


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ("zscore", "list of stages"),
        ({"zscore": "recording"}, "list of stages"),
        (["zscore"], "has no argument"),
        ([{"zscore": "recording", "scale": 2}], "not one"),
        ([{"zscore": "subject"}], "recording or window"),
        ([{"resample_fft": 0}], "positive rate"),
        ([{"resample_fft": "fast"}], "positive rate"),
        ([{"bandpass_fir": [47, 0.05]}], "low < high"),
        ([{"bandpass_fir": 47}], "low < high"),
        ([{"bandpass_chebyshev": [0.5, 60]}], "half the sampling rate"),
        ([{"scale": None}], "a number"),
    ],
)
def test_a_stage_that_cannot_be_applied_is_refused_in_one_line(stages, named: str):
    with pytest.raises(InputError, match=named) as caught:
        prepare(np.zeros(10_000), 100, stages)
    assert "\n" not in str(caught.value)


def test_a_signal_too_short_for_a_filter_is_refused():
    with pytest.raises(InputError, match=r"bandpass_fir needs more than 0.906 s"):
        prepare(np.zeros(400), 500, [{"bandpass_fir": [0.05, 47]}])


def test_every_stage_works_on_all_leading_axes_at_once():
    arguments = {"zscore": "window", "demean": "recording", "each": "window", "scale": 2.0}
    signal = np.random.default_rng(2).standard_normal((2, 3, 2000))
    for stage in STAGES:
        default = 80 if stage.startswith("resample") else [1, 12]
        stages = [{stage: arguments.get(stage, default)}]
        together, _ = prepare(signal, 100, stages)
        alone, _ = prepare(signal[1, 2], 100, stages)
        np.testing.assert_allclose(together[1, 2], alone, atol=1e-10)
