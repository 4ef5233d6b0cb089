"""Features are those of one forward of each window, computed once whatever split, fold or direction asks for them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.common import store as store_module
from benchmark.common.store import Store
from benchmark.data import cache
from benchmark.data import registry as datasets
from benchmark.data.base import PairedWindows, Windows
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry
from benchmark.encoders.base import Encoder
from benchmark.frozen.features import Features

PPG = SignalSpec("ppg", ("BVP",), 125.0, 500, "z")
COUNTS = (7, 5, 1, 0, 6)
"""Windows by subject."""


class Noise(Windows):
    """White noise, the same in every process."""

    def __init__(self, spec: SignalSpec, n: int):
        self.spec = spec
        shape = (n, spec.n_channels, spec.n_samples)
        self.values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> np.ndarray:
        return self.values[indices]


def people(counts: tuple[int, ...] = COUNTS, reverse: bool = False) -> PairedWindows:
    """A data set of PPG and of an ECG that nobody looks at."""
    n = sum(counts)
    sides = [Noise(PPG, n), Noise(SignalSpec("ecg", ("II",), 100.0, 100, "z"), n)]
    return PairedWindows(
        dataset="noise",
        old=sides[reverse],
        new=sides[not reverse],
        label=np.zeros(n, np.int64),
        subject=np.repeat(np.arange(len(counts)), counts),
        subjects=tuple(f"S{k}" for k in range(len(counts))),
        recording=np.full(n, "r"),
        start=np.arange(n, dtype=float),
        classes=("rest",),
        content=dict.fromkeys(("ppg", "ecg"), ("noise",) * len(counts)),
    )


def papagei(seed: int = 0) -> Encoder:
    return registry.build("papagei", PPG, preset="tiny", seed=seed).freeze()


class Counted:
    """How many windows were embedded since it was last asked."""

    def __init__(self, encoder: Encoder):
        self.windows = 0
        embed = encoder.embed

        def counting(inputs: torch.Tensor) -> torch.Tensor:
            self.windows += len(inputs)
            return embed(inputs)

        encoder.embed = counting  # type: ignore[method-assign]

    def __call__(self) -> int:
        counted, self.windows = self.windows, 0
        return counted


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Features, Counted]]:
    """Features of a process that has not opened any file, and the windows that it runs its encoder on."""

    def made(batch_size: int = 2, seed: int = 0, dtype: str = "float32", **data: bool) -> tuple[Features, Counted]:
        monkeypatch.setattr(store_module, "_checked", {})
        encoder = papagei(seed)
        return Features(Store(tmp_path, dtype), people(**data), encoder, "ppg", batch_size), Counted(encoder)

    return made


@torch.inference_mode()
def test_features_are_what_the_encoder_gives_bit_for_bit(make):
    """Each window alone, so that nothing depends on what else is in a batch."""
    features, _ = make(batch_size=1)
    encoder, data = papagei(), people()
    indices = np.random.default_rng(1).permutation(len(data))[:11]
    hiddens = [encoder.block_outputs(encoder.inputs(data.side("ppg").take(np.array([index])))) for index in indices]
    for block in (0, 3, encoder.n_blocks):
        expected = torch.cat([encoder.pool(hidden[block]) for hidden in hiddens])
        assert torch.equal(features.pooled(indices, block), expected)
        assert torch.equal(features.block_input(indices, block)[:], torch.cat([hidden[block] for hidden in hiddens]))
    assert torch.equal(features.last(indices).all(), torch.cat([hidden[-1] for hidden in hiddens]))
    prepared = features.prepared(indices)
    assert torch.equal(prepared[:], encoder.prepare(data.side("ppg").take(indices)))
    assert torch.equal(prepared[torch.tensor([[0, 2], [1, 1]])], prepared[:][torch.tensor([[0, 2], [1, 1]])])


def test_one_forward_gives_pooled_and_last(make):
    features, counted = make()
    features.extract(0, last=np.array([1, 2, 6]))
    assert counted() == 7
    assert features.last(np.array([6, 1])).shape[0] == 2  # fewer than there are
    features.pooled(np.arange(7), 0)
    features.extract(0, last=np.array([1, 2, 6]))
    features.extract(0)
    features.extract(3)  # who has no windows
    assert counted() == 0
    features.last(np.arange(7, 10))  # of another subject, from its first window on
    features.pooled(np.arange(12), 2)
    assert counted() == 5


def test_what_was_computed_once_serves_all_splits_folds_and_both_directions(make):
    features, counted = make()
    everything = np.arange(len(features.data))
    for subject in range(len(COUNTS)):
        features.extract(subject, last=np.arange(COUNTS[subject]))
    pooled, last = features.pooled(everything, 3), features.last(everything)[:]
    assert counted() == len(everything)
    seconds = 0.0
    for reverse in (False, True):
        again, counted = make(reverse=reverse)
        for part in (everything[:7], everything[7:], everything[[18, 0, 12]], everything):
            assert torch.equal(again.pooled(part, 3), pooled[part])
        assert torch.equal(again.last(everything)[:], last)
        assert counted() == 0
        assert again.saved > 0
        seconds = seconds or again.saved
        assert again.saved == seconds


def test_other_weights_are_other_features_but_the_same_inputs(make):
    indices = np.arange(10)
    features, _ = make()
    pooled, prepared = features.pooled(indices, 8), features.prepared(indices)[:]
    other, counted = make(seed=1)
    other.encoder.fingerprint = lambda: pytest.fail("prepared inputs have no weights")
    assert torch.equal(other.prepared(indices)[:], prepared)
    assert other.saved > 0
    other, counted = make(seed=1)
    assert not torch.equal(other.pooled(indices, 8), pooled)
    assert counted() == 12


def test_keys_say_what_is_computed_and_not_who_asks(make):
    features, _ = make()
    features.extract(1, last=np.array([0, 3]))
    features.block_input(np.array([8]), 4)
    keys = [entry.key for entry in features._entries.values()]
    data, stored = {"dataset", "content", "modality", "subject"}, {"dtype", "format", "libraries"}
    same = {*data, *stored, "encoder", "preset", "code", "batch", "device", "threads"}
    shown = sorted((key["what"], *sorted(set(key) - same - {"what"})) for key in keys)
    assert shown == [("input", "block", "weights"), ("last", "weights"), ("pooled", "weights")]


@pytest.mark.parametrize("ask", [Features.last, lambda features, indices: features.block_input(indices, 3)])
def test_an_entry_serves_any_of_its_windows_and_grows_by_those_it_lacks(make, ask):
    """Folds of a split by time want other windows of the same subject."""
    features, _ = make()
    expected = ask(features, np.arange(7))[:]
    for file in features.store.root.iterdir():
        file.unlink()
    first, second = make()[0], make()[0]
    assert torch.equal(ask(first, np.array([5, 1, 2]))[:], expected[[5, 1, 2]])
    size = len([*first.store.root.iterdir()])
    other, counted = make()
    assert torch.equal(ask(other, np.array([2, 1]))[:], expected[[2, 1]])
    assert counted() == 0
    assert torch.equal(ask(second, np.array([3, 1]))[:], expected[[3, 1]])
    assert torch.equal(ask(first, np.array([3, 5]))[:], expected[[3, 5]])  # as it is on disk by now
    again, counted = make()
    assert torch.equal(ask(again, np.array([1, 2, 3, 5]))[:], expected[[1, 2, 3, 5]])
    assert counted() == 0
    assert len([*first.store.root.iterdir()]) == size


@pytest.mark.parametrize("what", ["pooled", "last", "input", "prepared"])
def test_a_flipped_byte_is_said_and_computed_again_with_the_same_numbers(make, what):
    def found(features: Features) -> torch.Tensor:
        features.extract(0, last=np.array([1, 4]))
        asked: dict[str, Callable[[], torch.Tensor]] = {
            "pooled": lambda: features.pooled(indices, 2),
            "last": lambda: features.last(indices)[:],
            "input": lambda: features.block_input(indices, 2)[:],
            "prepared": lambda: features.prepared(indices)[:],
        }
        return asked[what]()

    indices = np.array([1, 4])
    features, _ = make(batch_size=3)
    before = found(features)
    entry = next(entry for entry in features._entries.values() if entry.key["what"] == what)
    content = bytearray(entry.path.read_bytes())
    value = (entry.get(f"{what}/2") or entry[what])[0].numpy().tobytes()[-8:]
    content[content.index(value)] ^= 1
    entry.path.write_bytes(content)
    again, counted = make(batch_size=3)
    with pytest.warns(UserWarning, match=f"{entry.path} is damaged .*the checksum does not match.* computed again"):
        after = found(again)
    assert torch.equal(before, after)
    assert counted() == {"pooled": 7, "last": 6, "input": 6, "prepared": 0}[what]  # in the batches that they were in


def test_features_come_in_the_encoders_precision_and_tokens_as_they_are_stored(make):
    indices = np.arange(6)
    exact, rounded = make()[0], make(dtype="bfloat16")[0]
    assert rounded.last(indices).dtype == rounded.block_input(indices, 1).dtype == torch.bfloat16
    assert rounded.pooled(indices, 2).dtype == torch.float32
    pooled = exact.pooled(indices, 2)
    torch.testing.assert_close(rounded.pooled(indices, 2), pooled, rtol=2**-8, atol=1e-6)
    double = Features(exact.store, exact.data, exact.encoder.double(), "ppg", 2)
    assert double.pooled(indices, 2).dtype == double.last(indices).dtype == torch.float64
    torch.testing.assert_close(double.pooled(indices, 2).float(), pooled)


def test_progress_counts_a_subjects_windows(make):
    features, _ = make()
    said: list[tuple[int, int, str]] = []
    features.progress = lambda *words: said.append(words)
    features.pooled(np.arange(9), 0)
    ends = [("S0", 2, 7), ("S0", 4, 7), ("S0", 6, 7), ("S0", 7, 7), ("S1", 2, 5), ("S1", 4, 5), ("S1", 5, 5)]
    assert said == [(done, of, f"pooled of {who}") for who, done, of in ends]


def test_features_of_the_simulated_data_are_found_by_a_second_process(tmp_path):
    dataset = datasets.build("simulated", {"subjects": 2, "condition_seconds": 30})
    data = cache.load(dataset, "ecg", "ppg", tmp_path / "data", progress=False)
    everything, saved = np.arange(len(data)), []
    for name, modality in (("hubert_ecg", "ecg"), ("papagei", "ppg"), ("papagei", "ppg")):
        encoder = registry.build(name, data.side(modality).spec, preset="tiny").freeze()
        features = Features(Store(tmp_path / "features"), data, encoder, modality, 8)
        last = encoder.to_tokens(features.last(everything)[:])
        assert last.shape == (len(data), *encoder.shape_at(encoder.n_blocks))
        torch.testing.assert_close(last.mean(1), features.pooled(everything, encoder.n_blocks))
        saved.append(features.saved > 0)
    assert saved == [False, False, True]
