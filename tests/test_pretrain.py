"""Self-supervised training: what it asks of an encoder, and that unseen subjects profit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.config.options import parse
from benchmark.config.schema import PretrainingOptions
from benchmark.data import registry as datasets
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import descriptors, registry
from benchmark.encoders.base import Encoder
from benchmark.encoders.descriptors import View, describe, log_spectrum, period, rhythm, targets
from benchmark.encoders.pretraining import hide, pretrain, takes_any_tokens
from benchmark.errors import InputError

DEFAULTS = PretrainingOptions()
SHORT = PretrainingOptions(steps=6, batch_size=8, views=2)

SIGNALS = {
    "hubert_ecg": SignalSpec("ecg", ("II",), 100.0, 1000, "z"),
    "papagei": SignalSpec("ppg", ("PPG",), 125.0, 1250, "z"),
    "labram": SignalSpec("eeg", ("F3", "C3", "O1", "F4", "C4", "O2"), 200.0, 2000, "uV"),
    "normwear": SignalSpec("emg", ("TA", "GS"), 130.0, 390, "z"),
}


def tiny(name: str, seed: int = 0) -> Encoder:
    return registry.build(name, SIGNALS[name], preset="tiny", weights="random", seed=seed)


def some_windows(name: str, n: int = 16) -> np.ndarray:
    """Noise with a spectrum of its own in every window."""
    signal, rng = SIGNALS[name], np.random.default_rng(0)
    white = np.fft.rfft(rng.standard_normal((n, signal.n_channels, signal.n_samples)))
    frequency = 0.5 + np.arange(white.shape[-1])
    coloured = np.fft.irfft(white * frequency ** -rng.uniform(0, 1, (n, 1, 1)), signal.n_samples)
    return (10 * coloured / coloured.std()).astype(np.float32)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_seed_decides_the_weights_and_the_callers_random_state_is_left_alone(name: str):
    windows = some_windows(name)
    states = []
    for seed in (3, 3, 4):
        encoder = tiny(name)
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        random_state = torch.get_rng_state()
        report = pretrain(encoder, windows, SHORT, seed)
        assert torch.equal(random_state, torch.get_rng_state())
        assert not encoder.training
        assert all(parameter.grad is None for parameter in encoder.parameters())
        for block in encoder.block_names:
            changed = [key for key in before if key.startswith(block) and key.endswith("weight")]
            assert any(not torch.equal(before[key], encoder.state_dict()[key]) for key in changed), block
        assert all(torch.isfinite(value).all() for value in encoder.state_dict().values())
        assert len(report["loss"]) == report["steps"] == 6
        assert len(report["explained"]) == encoder.n_blocks
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_what_is_played_faster_is_pre_trained_as_if_it_had_been_recorded_so():
    """EDA at 6.5 Hz against EMG of the same samples at the encoder's own 130 Hz."""
    windows, states = some_windows("normwear"), []
    for modality, rate in (("emg", 130.0), ("eda", 6.5)):
        encoder = registry.build("normwear", replace(SIGNALS["normwear"], modality=modality, rate=rate))
        pretrain(encoder, windows, SHORT, seed=0)
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    with pytest.raises(InputError, match=r"normwear takes 6\.5 Hz, the eda windows have 130 Hz"):
        registry.build("normwear", replace(SIGNALS["normwear"], modality="eda"))


def simulated_hearts(modality: str, subjects: range) -> tuple[np.ndarray, np.ndarray]:
    """Windows, and the true heart rate in each (beats a minute), from the simulated beats."""
    dataset = datasets.build("simulated", {"subjects": 30, "condition_seconds": 60})
    windows, rates = [], []
    for k in subjects:
        name = f"S{k:03d}"
        beats, one = dataset.simulate(name).beats, dataset.read(name)  # type: ignore[attr-defined]
        windows.append(one.signals[modality])
        inside = [beats[(beats >= start) & (beats <= start + 10)] for start in one.start]
        rates.append([60 / np.diff(b).mean() for b in inside])
    return np.concatenate(windows), np.concatenate(rates)


@torch.no_grad()
def pooled_blocks(encoder: Encoder, windows: np.ndarray) -> list[np.ndarray]:
    return [encoder.pool(hidden).numpy() for hidden in encoder.block_outputs(encoder.prepare(windows))[1:]]


@pytest.mark.parametrize(
    ("name", "modality"), [("hubert_ecg", "ecg"), pytest.param("papagei", "ppg", marks=pytest.mark.slow)]
)
def test_every_block_tells_the_heart_rate_of_unseen_subjects_better_than_random_weights_do(name: str, modality: str):
    train, train_rate = simulated_hearts(modality, range(16))
    test, test_rate = simulated_hearts(modality, range(16, 26))

    def explained(encoder: Encoder) -> list[float]:
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
        blocks = zip(pooled_blocks(encoder, train), pooled_blocks(encoder, test), strict=True)
        return [model.fit(old, train_rate).score(new, test_rate) for old, new in blocks]

    encoder = tiny(name)
    before = explained(encoder)
    report = pretrain(encoder, train, DEFAULTS.model_copy(update={"steps": 150}), seed=0)
    after = explained(encoder)
    assert after[-1] > 0.5
    assert after[-1] > before[-1] + 0.1
    assert min(after[len(after) // 2 :]) > 0.4
    assert np.mean(report["loss"][-20:]) < 0.6 * np.mean(report["loss"][:5])


def test_the_period_is_the_time_between_beats_in_both_sensors():
    for modality in ("ecg", "ppg"):
        windows, rate = simulated_hearts(modality, range(4))
        found = 60 / np.exp(period(windows, SIGNALS["hubert_ecg" if modality == "ecg" else "papagei"].rate)[:, 0])
        assert np.median(np.abs(found - rate)) < 1.5
        assert np.mean(np.abs(found - rate) < 5) > 0.85


def test_a_pulse_train_has_its_period_and_noise_has_little_of_one():
    time = np.arange(1000) / 100
    trains = np.stack([np.exp(-0.5 * ((time % one - 0.2) / 0.02) ** 2) for one in (0.5, 0.8, 1.3)])[:, None]
    log_period, strength = period(trains, 100.0).T
    np.testing.assert_allclose(np.exp(log_period), [0.5, 0.8, 1.3], atol=0.01)
    assert (strength > 0.85).all()
    noise = period(np.random.default_rng(0).standard_normal((20, 1, 1000)), 100.0)
    assert np.median(noise[:, 1]) < 0.3


def test_the_spectrum_peaks_at_the_frequency_and_grows_with_the_square_of_the_amplitude():
    time = np.arange(2000) / 200
    sines = np.stack([np.sin(2 * np.pi * f * time) for f in (2.0, 10.0, 30.0)])[:, None]
    found = log_spectrum(sines, 200.0)[:, 0]
    edges = np.geomspace(0.5, 45.0, descriptors.BANDS + 1)
    for k, frequency in enumerate((2.0, 10.0, 30.0)):
        assert edges[found[k].argmax() - 1] <= frequency <= edges[found[k].argmax() + 2]
    np.testing.assert_allclose(log_spectrum(3 * sines, 200.0) - log_spectrum(sines, 200.0), np.log(9), atol=1e-9)


def test_the_rhythm_is_that_of_the_envelope_and_not_of_the_carrier():
    time = np.arange(2000) / 200
    carrier = np.random.default_rng(0).standard_normal(2000)
    bursts = np.stack([carrier * (1 + 0.9 * np.sin(2 * np.pi * f * time)) for f in (0.4, 2.5)])[:, None]
    slow, fast = rhythm(bursts, 200.0)
    assert fast.argmax() - slow.argmax() > 5
    # A single artefact, a hundred times as steep, does not change which is which.
    bursts[:, :, 1000] += 100
    slow, fast = rhythm(bursts, 200.0)
    assert fast.argmax() - slow.argmax() > 5


def test_targets_are_standardised_and_a_groups_weight_does_not_depend_on_its_size():
    windows = some_windows("labram", n=40)
    views = View.draw(40, 3, 1.33, np.random.default_rng(0))
    target = targets(windows, views, 200.0)
    groups = describe(windows, 200.0)
    assert set(groups) == {"spectrum", "rhythm", "period", "values", "contrast"}
    assert target.shape == (3, 40, sum(group.shape[1] for group in groups.values()))
    assert abs(np.square(target).mean() - 1) < 0.1
    energy, begin = {}, 0
    for name, group in groups.items():
        energy[name] = np.square(target[..., begin : begin + group.shape[1]]).sum(axis=-1).mean()
        begin += group.shape[1]
    energy.pop("period")
    assert max(energy.values()) < 1.2 * min(energy.values())


def test_a_flat_window_has_finite_descriptors():
    windows = np.zeros((4, 2, 2000), dtype=np.float32)
    windows[0] = 5.0
    windows[1, 0] = np.random.default_rng(0).standard_normal(2000)
    assert all(np.isfinite(group).all() for group in describe(windows, 200.0).values())


def test_a_stretched_view_is_slower_by_its_factor():
    time = np.arange(2000) / 200
    windows = np.repeat(np.sin(2 * np.pi * 6.0 * time)[None, None], 3, axis=0).astype(np.float32)
    views = View(np.array([[1.0], [1.25], [0.8]]), np.array([[0.3], [0.3], [0.3]]))
    stretched = views.of(windows, np.arange(3), 0)
    np.testing.assert_allclose(stretched[0], windows[0], atol=1e-6)
    for k, expected in ((1, 6 / 1.25), (2, 6 / 0.8)):
        spectrum = np.abs(np.fft.rfft(stretched[k, 0] * np.hanning(2000)))
        assert abs(np.fft.rfftfreq(2000, 1 / 200)[spectrum.argmax()] - expected) <= 0.1
    # The rows asked for are those that come, whatever their order.
    np.testing.assert_array_equal(views.of(windows[[2, 1]], np.array([2, 1]), 0), stretched[[2, 1]])


def test_hidden_spans_are_at_the_mean_in_all_channels_and_the_rest_is_untouched():
    windows = np.random.default_rng(0).normal(3, 1, (50, 2, 1000)).astype(np.float32)
    original = windows.copy()
    partly = hide(windows, 0.2, 50, np.random.default_rng(1))
    np.testing.assert_array_equal(windows, original)
    hidden = (partly != windows).all(axis=1)
    np.testing.assert_array_equal((partly != windows).any(axis=1), hidden)
    assert 0.1 < hidden.mean() <= 0.2
    assert hidden.sum(axis=1).min() >= 50
    means = np.broadcast_to(windows.mean(axis=-1, keepdims=True), windows.shape)
    np.testing.assert_allclose(partly[:, 0][hidden], means[:, 0][hidden], atol=1e-6)
    np.testing.assert_array_equal(hide(windows, 0.0, 50, np.random.default_rng(1)), windows)


def test_only_transformers_over_a_set_of_tokens_run_a_part_of_them(monkeypatch):
    assert {name: takes_any_tokens(tiny(name)) for name in SIGNALS} == {
        "hubert_ecg": True,
        "papagei": False,
        "labram": True,
        "normwear": False,
    }
    for name, expected in (("labram", 20), ("hubert_ecg", SIGNALS["hubert_ecg"].n_samples // 64)):
        encoder = tiny(name)
        seen: set[int] = set()
        run = encoder.run

        def watched(hidden, start, stop, encoder=encoder, run=run, seen=seen):
            seen.add(encoder.to_tokens(hidden).shape[1])
            return run(hidden, start, stop)

        monkeypatch.setattr(encoder, "run", watched)
        pretrain(encoder, some_windows(name), SHORT.model_copy(update={"tokens": 20}), seed=0)
        assert max(seen) <= expected


def test_batch_norms_end_with_the_statistics_of_whole_windows():
    encoder, windows = tiny("papagei"), some_windows("papagei")
    pretrain(encoder, windows, SHORT, seed=0)
    with torch.no_grad():
        first = encoder.first_block_conv(encoder.prepare(windows))  # type: ignore[operator]
    norm: Any = encoder.first_block_bn
    torch.testing.assert_close(norm.running_mean, first.mean(dim=(0, 2)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


def test_fewer_windows_than_a_batch_are_one_batch():
    report = pretrain(tiny("hubert_ecg"), some_windows("hubert_ecg", n=5), SHORT, seed=0)
    assert report["windows"] == 5
    with pytest.raises(InputError, match="1 windows are too few to pre-train hubert_ecg"):
        pretrain(tiny("hubert_ecg"), some_windows("hubert_ecg", n=1), SHORT, seed=0)


def test_progress_is_told_at_every_step():
    said: list[tuple[int, int, str]] = []
    pretrain(tiny("hubert_ecg"), some_windows("hubert_ecg"), SHORT, 0, lambda *what: said.append(what))
    assert [done for done, _, _ in said] == list(range(1, 7))
    assert said[0][1:] == (6, "pre-training hubert_ecg")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"steps": 0}, "pretraining.steps=0 cannot be used; give a whole number of at least 1"),
        ({"batch_size": 1}, "pretraining.batch_size=1"),
        ({"learning_rate": "fast"}, "pretraining.learning_rate=fast"),
        ({"weight_decay": -1}, "pretraining.weight_decay=-1"),
        ({"stretch": 0.5}, "pretraining.stretch=0.5 cannot be used; give a number of at least 1 and at most 2"),
        ({"masked": 1}, "pretraining.masked=1 cannot be used; give a number of at least 0 and below 1"),
        ({"span_seconds": 0}, "pretraining.span_seconds=0"),
        ({"tokens": 2.5}, "pretraining.tokens=2.5"),
        ({"maskd": 0.3}, "unknown option pretraining.maskd; did you mean pretraining.masked"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_line(option, named: str):
    with pytest.raises(InputError, match=named) as caught:
        parse(PretrainingOptions, option, "pretraining.")
    assert "\n" not in str(caught.value)


def test_the_slope_of_the_spectrum_is_learnt_without_any_label():
    windows = some_windows("labram", n=96)
    spectrum = log_spectrum(windows, 200.0).mean(axis=1)
    slope = spectrum @ np.linspace(-1, 1, spectrum.shape[1])
    encoder = tiny("labram")
    pretrain(encoder, windows[:64], DEFAULTS.model_copy(update={"steps": 80}), seed=0)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    for features in pooled_blocks(encoder, windows):
        assert model.fit(features[:64], slope[:64]).score(features[64:], slope[64:]) > 0.8
