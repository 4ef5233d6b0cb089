"""What every encoder promises, at its tiny size; and what each refuses."""

from dataclasses import replace

import mne
import numpy as np
import pytest
import torch
from scipy.signal import convolve

from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry
from benchmark.encoders.base import Encoder
from benchmark.encoders.labram import electrode
from benchmark.encoders.normwear import WIDTHS, cwt, scalogram, sincos_positions
from benchmark.errors import InputError
from tests.encoders.goldens import FOG_EEG, ISRUC_EEG, WESAD_ECG, WESAD_PPG


def example_windows(signal: SignalSpec, n: int = 3) -> np.ndarray:
    scale = 30.0 if signal.unit == "uV" else 1.0
    shape = (n, signal.n_channels, signal.n_samples)
    return (scale * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.fixture(scope="module", params=registry.names())
def encoder(request: pytest.FixtureRequest) -> Encoder:
    cls = registry.encoder_class(request.param)
    return registry.build(cls.name, cls.example)


@pytest.fixture(scope="module")
def hiddens(encoder: Encoder) -> list[torch.Tensor]:
    with torch.no_grad():
        return encoder.block_outputs(encoder.prepare(example_windows(encoder.signal)))


def test_all_four_models_are_found() -> None:
    assert {"labram", "hubert_ecg", "papagei", "normwear"} <= set(registry.names())


def test_a_module_is_named_as_its_encoder(encoder: Encoder) -> None:
    assert type(encoder).__module__ == f"benchmark.encoders.{encoder.name}"


def test_a_run_can_be_cut_at_any_block(encoder: Encoder, hiddens: list[torch.Tensor]) -> None:
    n = encoder.n_blocks
    with torch.no_grad():
        for cut in range(n + 1):
            before = encoder.run(hiddens[0], 0, cut)
            assert torch.equal(before, hiddens[cut])
            assert torch.equal(encoder.run(before, cut, n), hiddens[n])
    assert encoder.run(hiddens[1], 1, 1) is hiddens[1]


def test_forward_is_all_blocks(encoder: Encoder, hiddens: list[torch.Tensor]) -> None:
    with torch.no_grad():
        assert torch.equal(encoder(encoder.prepare(example_windows(encoder.signal))), hiddens[-1])


def test_running_a_block_leaves_its_input_alone(encoder: Encoder, hiddens: list[torch.Tensor]) -> None:
    for block, hidden in enumerate(hiddens[:-1]):
        before = hidden.clone()
        with torch.no_grad():
            encoder.run(hidden, block, block + 1)
        assert torch.equal(hidden, before)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 99)])
def test_blocks_out_of_range_are_refused(encoder: Encoder, hiddens: list[torch.Tensor], start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="blocks"):
        encoder.run(hiddens[0], start, stop)


def test_tokens_and_back_is_the_identity(encoder: Encoder, hiddens: list[torch.Tensor]) -> None:
    for block, hidden in enumerate(hiddens):
        tokens = encoder.to_tokens(hidden)
        assert tuple(tokens.shape) == (3, *encoder.shape_at(block))
        assert torch.equal(encoder.from_tokens(tokens), hidden)
        torch.testing.assert_close(encoder.pool(hidden), tokens.mean(1))


def test_windows_of_a_batch_do_not_touch_each_other(encoder: Encoder, hiddens: list[torch.Tensor]) -> None:
    with torch.no_grad():
        alone = encoder(encoder.prepare(example_windows(encoder.signal)[1:2]))
    torch.testing.assert_close(alone, hiddens[-1][1:2], rtol=1e-4, atol=1e-5)


def test_block_names_are_prefixes_of_the_state_dict(encoder: Encoder) -> None:
    names = list(encoder.state_dict())
    assert len(encoder.block_names) == encoder.n_blocks
    for block in encoder.block_names:
        assert any(name.startswith(f"{block}.") for name in names)


def test_all_presets_run_on_the_meta_device(encoder: Encoder) -> None:
    shape = encoder.prepare(example_windows(encoder.signal, 2)).shape
    for preset in encoder.presets:
        with torch.device("meta"):
            large = registry.build(encoder.name, encoder.signal, preset)
        assert {value.device.type for value in large.state_dict().values()} == {"meta"}
        hidden = large(torch.empty(shape, device="meta"))
        assert tuple(large.to_tokens(hidden).shape) == (2, *large.shape_at(large.n_blocks))


def test_fine_tuning_reaches_every_parameter_on_the_path(encoder: Encoder) -> None:
    student = registry.build(encoder.name, encoder.signal).train()
    inputs = student.prepare(example_windows(student.signal))
    student.pool(student(inputs)).square().mean().backward()
    bypassed = ("basicblock_list.0.bn1.", "backbone.pos_embed")  # PaPaGei's first norm is unused by design
    for name, parameter in student.named_parameters():
        if name.startswith((*student.outside_path, *bypassed)):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_gradients_pass_through_a_frozen_encoder_to_its_input(encoder: Encoder, hiddens: list[torch.Tensor]) -> None:
    frozen = registry.build(encoder.name, encoder.signal).freeze()
    hidden = hiddens[1].clone().requires_grad_(True)
    frozen.pool(frozen.run(hidden, 1, frozen.n_blocks)).square().sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_random_weights_follow_the_seed_and_leave_the_callers_random_state_alone(encoder: Encoder) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    same = registry.build(encoder.name, encoder.signal)
    other = registry.build(encoder.name, encoder.signal, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same.fingerprint() == encoder.fingerprint() != other.fingerprint()


def test_windows_of_another_shape_are_refused(encoder: Encoder) -> None:
    windows = example_windows(encoder.signal)
    for bad in (windows[0], windows[:, :, :-1], np.repeat(windows, 2, axis=1)):
        with pytest.raises(InputError, match=r"channels x \d+ samples, got an array of shape"):
            encoder.prepare(bad)


def test_read_only_windows_are_taken_without_a_warning(encoder: Encoder, recwarn: pytest.WarningsRecorder) -> None:
    windows = example_windows(encoder.signal)
    windows.flags.writeable = False
    encoder.prepare(windows)
    assert len(recwarn) == 0


def test_a_wrong_rate_modality_or_preset_is_refused(encoder: Encoder) -> None:
    with pytest.raises(InputError, match=r"takes \d+ Hz, the \w+ windows have 64 Hz"):
        registry.build(encoder.name, replace(encoder.signal, rate=64.0))
    with pytest.raises(InputError, match="the data set gives rsp"):
        registry.build(encoder.name, replace(encoder.signal, modality="rsp"))
    with pytest.raises(InputError, match="has no preset 'huge'; choose one of tiny"):
        registry.build(encoder.name, encoder.signal, preset="huge")


def test_an_unknown_name_is_answered_with_similar_ones() -> None:
    with pytest.raises(InputError, match="did you mean labram"):
        registry.encoder_class("labrm")
    with pytest.raises(InputError, match="choose one of hubert_ecg, labram, normwear, papagei"):
        registry.encoder_class("base")


def test_hubert_is_deterministic_while_training_without_dropout() -> None:
    encoder = registry.build("hubert_ecg", WESAD_ECG).train()  # tiny: no dropout; LayerDrop, SpecAugment never
    inputs = encoder.prepare(example_windows(WESAD_ECG))
    with torch.no_grad():
        first = encoder(inputs)
        assert all(torch.equal(encoder(inputs), first) for _ in range(5))
        torch.testing.assert_close(encoder.eval()(inputs), first)


def test_hubert_reads_leads_end_to_end() -> None:
    two = registry.build("hubert_ecg", SignalSpec("ecg", ("I", "II"), 100.0, 1500, "z"))
    windows = example_windows(two.signal)
    assert torch.equal(two.prepare(windows), torch.from_numpy(windows.reshape(3, 3000)))
    assert two.shape_at(0)[0] == 46


def test_hubert_refuses_a_window_that_leaves_no_token() -> None:
    shortest = registry.build("hubert_ecg", replace(WESAD_ECG, n_samples=82))
    assert shortest.shape_at(0)[0] == 1
    with pytest.raises(InputError, match="at least 82 samples"):
        registry.build("hubert_ecg", replace(WESAD_ECG, n_samples=81))


def test_papagei_refuses_two_channels() -> None:
    with pytest.raises(InputError, match="takes one channel"):
        registry.build("papagei", replace(WESAD_PPG, channels=("green", "red")))


def test_labram_cuts_windows_into_one_second_patches_of_hundreds_of_microvolts() -> None:
    encoder = registry.build("labram", FOG_EEG)
    windows = example_windows(FOG_EEG)
    inputs = encoder.prepare(windows)
    assert inputs.shape == (3, 6, 3, 200)
    np.testing.assert_allclose(inputs[1, 2, 1].numpy(), windows[1, 2, 200:400] / 100, rtol=1e-6)
    volts = registry.build("labram", replace(FOG_EEG, unit="V"))
    torch.testing.assert_close(volts.prepare(windows * np.float32(1e-6)), inputs)


def test_labram_refuses_windows_that_are_not_whole_patches() -> None:
    with pytest.raises(InputError, match="the eeg windows have 650 samples; choose a window of whole seconds"):
        registry.build("labram", replace(FOG_EEG, n_samples=650))


def test_labram_refuses_standardised_signals() -> None:
    with pytest.raises(InputError, match="takes eeg in uV"):
        registry.build("labram", replace(FOG_EEG, unit="z"))


def test_labram_names_the_channels_it_does_not_know() -> None:
    channels = ("F3", "ECG", "EEG Fp1", "X2", "F3-C3")
    with pytest.raises(InputError, match=r"eeg channel\(s\) ECG, X2, F3-C3; it takes"):
        registry.build("labram", replace(FOG_EEG, channels=channels))


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("EEG Fp1", "Fp1"),
        ("EEG FP1-REF", "Fp1"),
        ("Fp1-A2", "Fp1"),
        ("F3-A2", "F3"),
        ("F3:M2", "F3"),
        ("c3-LE", "C3"),
        ("T3", "T7"),
        ("T7", "T7"),
        ("T6", "P8"),
        ("Fc5.", "FC5"),
        ("Cz..", "Cz"),
        ("F3-C3", None),
        ("EEG", None),
        ("C9", None),
        ("EOG left", None),
    ],
)
def test_labram_reads_common_channel_names(channel: str, name: str | None) -> None:
    assert electrode(channel) == name


def test_labram_knows_the_standard_10_20_montage() -> None:
    montage = mne.channels.make_standard_montage("colin27_1020")
    assert [name for name in montage.ch_names if electrode(name) is None] == []


def test_labrams_time_embedding_holds_every_patch() -> None:
    assert registry.build("labram", FOG_EEG).time_embed.shape == (1, 3, 40)
    assert registry.build("labram", FOG_EEG, time_positions=16).time_embed.shape == (1, 16, 40)
    assert registry.build("labram", FOG_EEG, "base", device="meta").time_embed.shape == (1, 16, 200)
    assert registry.build("labram", ISRUC_EEG, "base", device="meta").time_embed.shape == (1, 30, 200)
    with pytest.raises(InputError, match="time_positions is 2, a window has 3 patches"):
        registry.build("labram", FOG_EEG, time_positions=2)
    with pytest.raises(InputError, match="choose interpolate or random"):
        registry.build("labram", FOG_EEG, time_embedding="zeros")


def former_scipy_cwt(data: np.ndarray) -> np.ndarray:
    """The definition, one width after the other, by direct convolution: (L, W)."""
    columns = []
    for width in WIDTHS:
        points = np.min([10 * width, len(data)])
        time = np.arange(0, points) - (points - 1.0) / 2
        amplitude = 2 / (np.sqrt(3 * width) * np.pi**0.25)
        wavelet = amplitude * (1 - time**2 / width**2) * np.exp(-(time**2) / (2 * width**2))
        columns.append(convolve(data, wavelet[::-1], mode="same", method="direct"))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("length", [388, 128, 33])
def test_the_wavelet_transform_is_scipys_former_one(length: int) -> None:
    signals = np.random.default_rng(1).standard_normal((2, length)).astype(np.float32)
    ours = cwt(torch.from_numpy(signals)).numpy()
    for ours_of_one, data in zip(ours, signals, strict=True):
        theirs = former_scipy_cwt(data.astype(np.float64))
        np.testing.assert_allclose(ours_of_one, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


def test_a_scalogram_stacks_the_signal_and_its_differences() -> None:
    windows = np.random.default_rng(2).standard_normal((20, 3, 390)).astype(np.float32)
    ours = scalogram(torch.from_numpy(windows)).numpy()
    assert ours.shape == (20, 3, 3, 388, 65)
    data = windows[17, 2].astype(np.float64)
    for row, expected in enumerate((data[2:], np.diff(data)[1:], np.diff(data, n=2))):
        theirs = former_scipy_cwt(expected)
        np.testing.assert_allclose(ours[17, 2, row], theirs, rtol=0, atol=2e-6 * np.abs(theirs).max())


def test_normwears_channels_meet_only_in_their_cls_tokens() -> None:
    encoder = registry.build("normwear", registry.encoder_class("normwear").example)
    windows = example_windows(encoder.signal)
    changed = windows.copy()
    changed[:, 2] *= -1
    with torch.no_grad():
        one = encoder.block_outputs(encoder.prepare(windows))
        two = encoder.block_outputs(encoder.prepare(changed))
    assert torch.equal(one[1][:, :2, 1:], two[1][:, :2, 1:])
    assert not torch.equal(one[1][:, :2, 0], two[1][:, :2, 0])


def test_normwear_takes_other_channels_and_lengths() -> None:
    encoder = registry.build("normwear", SignalSpec("ecg", ("II",), 130.0, 650, "z"), "base", device="meta")
    assert encoder.shape_at(0) == (72 * 13 + 1, 768)
    with pytest.raises(InputError, match="at least 11 samples"):
        registry.build("normwear", SignalSpec("ecg", ("II",), 130.0, 10, "z"), "base", device="meta")


def test_position_tables_encode_the_column_then_the_row() -> None:
    table = sincos_positions(8, rows=3, columns=2)[0]
    assert table.shape == (7, 8)
    assert torch.equal(table[0], torch.zeros(8))
    row, column = 2, 1
    frequencies = np.array([1.0, 0.01])
    expected = np.concatenate([f(p * frequencies) for p in (column, row) for f in (np.sin, np.cos)])
    np.testing.assert_allclose(table[1 + row * 2 + column].numpy(), expected, atol=1e-6)
