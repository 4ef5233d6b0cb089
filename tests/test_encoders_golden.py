"""Our encoders compute what the original implementations computed, block by block, to fp32 accuracy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders.base import Encoder
from benchmark.encoders.registry import build, parameter_count
from tests.encoders.goldens import (
    FOG_EEG,
    FOG_EMG,
    ISRUC_ECG,
    ISRUC_EEG,
    WESAD_ECG,
    WESAD_PPG,
    golden_input,
    golden_weights,
    manifest,
)

Outputs = dict[str, torch.Tensor]


def labram_logits(encoder: Encoder, weights: Outputs, hidden: torch.Tensor) -> Outputs:
    features = encoder.fc_norm(hidden[:, 1:].mean(1))
    return {"final": torch.nn.functional.linear(features, weights["head.weight"], weights["head.bias"])}


def hubert_state(encoder: Encoder, weights: Outputs, hidden: torch.Tensor) -> Outputs:
    return {"final": hidden}


def papagei_outputs(encoder: Encoder, weights: Outputs, hidden: torch.Tensor) -> Outputs:
    embedding = torch.relu(encoder.final_bn(hidden)).mean(-1)

    def mixture(gate: torch.nn.Module, experts: torch.nn.ModuleList) -> torch.Tensor:
        return (gate(embedding) * torch.cat([expert(embedding) for expert in experts], dim=1)).sum(1, keepdim=True)

    dense = encoder.dense(embedding)
    return {
        "final": dense,
        "outputs/dense": dense,
        "outputs/moe1": mixture(encoder.gating_network_1, encoder.expert_layers_1),
        "outputs/moe2": mixture(encoder.gating_network_2, encoder.expert_layers_2),
        "outputs/emb": embedding,
    }


def normwear_tokens(encoder: Encoder, weights: Outputs, hidden: torch.Tensor) -> Outputs:
    return {"final": encoder.backbone.norm(hidden)}


@dataclass(frozen=True)
class Case:
    golden: str
    case: str
    encoder: str
    preset: str
    signal: SignalSpec
    outputs: Callable[[Encoder, Outputs, torch.Tensor], Outputs]


CASES = [
    Case("labram", "ISRUC", "labram", "base", ISRUC_EEG, labram_logits),
    Case("labram_fog16", "FOG", "labram", "base", FOG_EEG, labram_logits),
    Case("hubertecg_small", "ISRUC", "hubert_ecg", "small", ISRUC_ECG, hubert_state),
    Case("hubertecg_small", "WESAD", "hubert_ecg", "small", WESAD_ECG, hubert_state),
    Case("papagei_s", "WESAD", "papagei", "s", WESAD_PPG, papagei_outputs),
    pytest.param(Case("normwear", "FOG", "normwear", "base", FOG_EMG, normwear_tokens), marks=pytest.mark.slow),
]


@dataclass(frozen=True)
class Run:
    """One encoder with the goldens' weights, what it computed, and what the original computed."""

    encoder: Encoder
    report: dict[str, list[str]]
    hiddens: list[torch.Tensor]
    outputs: Outputs
    golden: dict[str, np.ndarray]

    def tolerance(self, key: str) -> float:
        return 2e-5 * max(1.0, float(self.golden[f"{key}/maxabs"]))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.golden}-{case.case}")
def run(request: pytest.FixtureRequest, shared: Path) -> Run:
    case: Case = request.param
    with np.load(shared / "golden" / f"{case.golden}.golden.npz") as file:
        golden = {key.removeprefix(f"{case.case}/"): file[key] for key in file.files if key.startswith(f"{case.case}/")}
    weights = golden_weights(shared, case.golden)
    encoder = build(case.encoder, case.signal, case.preset)
    report = encoder.load_original_state_dict(weights)
    inputs = golden_input(tuple(golden["input_shape"]))
    assert np.allclose(inputs.flatten()[:8], golden["input_first8"], rtol=0, atol=1e-6)
    with torch.inference_mode():
        hiddens = encoder.block_outputs(inputs)
        return Run(encoder, report, hiddens, case.outputs(encoder, weights, hiddens[-1]), golden)


def difference(tensor: torch.Tensor, golden: np.ndarray) -> float:
    return float(np.abs(tensor.double().numpy().reshape(golden.shape) - golden).max())


@pytest.mark.parametrize("place", ["stem", "first", "middle", "last", "final"])
def test_values_match_the_original(run: Run, place: str) -> None:
    golden = run.golden
    if place == "final":
        tensor = run.outputs["final"]
    elif place == "stem":
        tensor = run.hiddens[0]
    else:
        tensor = run.hiddens[int(golden[f"{place}/block_index"]) + 1]
    flat = tensor.flatten()
    tolerance = run.tolerance(place)
    assert tensor.numel() == math.prod(golden[f"{place}/shape"])
    assert difference(flat[: len(golden[f"{place}/first64"])], golden[f"{place}/first64"]) <= tolerance
    assert difference(flat[torch.from_numpy(golden[f"{place}/idx64"])], golden[f"{place}/val64"]) <= tolerance
    assert difference(tensor.double().mean(), golden[f"{place}/mean"]) <= tolerance
    assert difference(tensor.double().std(correction=0), golden[f"{place}/std"]) <= tolerance
    assert difference(tensor.abs().max(), golden[f"{place}/maxabs"]) <= tolerance


def test_every_block_matches_the_original(run: Run) -> None:
    tolerance = run.tolerance("last")
    outputs = run.hiddens[1:]
    means = torch.stack([hidden.double().mean() for hidden in outputs])
    stds = torch.stack([hidden.double().std(correction=0) for hidden in outputs])
    assert difference(means, run.golden["block_mean"]) <= tolerance
    assert difference(stds, run.golden["block_std"]) <= tolerance
    if "block_contrib" in run.golden:
        moved = [
            (after - before).double().norm() / before.double().norm()
            for before, after in zip(run.hiddens[:-1], outputs, strict=True)
        ]
        assert difference(torch.stack(moved), run.golden["block_contrib"]) <= 2e-5


def test_pooled_features_match_the_original(run: Run) -> None:
    pooled = run.encoder.pool(run.hiddens[-1])
    assert difference(pooled, run.golden["pooled_last"]) <= run.tolerance("last")


def test_other_outputs_match_the_original(run: Run) -> None:
    for key, tensor in run.outputs.items():
        if key.startswith("outputs/"):
            assert difference(tensor, run.golden[key]) <= run.tolerance("final"), key


def test_shape_at_is_what_each_block_takes(run: Run) -> None:
    for block, hidden in enumerate(run.hiddens):
        assert run.encoder.shape_at(block) == tuple(run.encoder.to_tokens(hidden).shape[1:])
        assert len(hidden) == 2


def test_every_original_entry_is_used(run: Run) -> None:
    assert run.report["missing"] == []
    assert run.report["adapted"] == []
    assert [name for name in run.report["ignored"] if not name.startswith("head.")] == []


COUNTS = [
    # manifest, encoder, preset, signal, parameters of the state dict (without LaBraM's 2-class head), backbone
    ("labram", "labram", "base", ISRUC_EEG, 5_797_338 - 402, 5_796_536),
    ("labram_fog16", "labram", "base", FOG_EEG, 5_794_538 - 402, 5_793_736),
    ("hubertecg_small", "hubert_ecg", "small", ISRUC_ECG, 30_366_592, 30_209_152),
    ("hubertecg_base", "hubert_ecg", "base", ISRUC_ECG, 93_021_312, 92_798_080),
    ("hubertecg_large", "hubert_ecg", "large", WESAD_ECG, 188_187_968, 187_643_776),
    ("papagei_s", "papagei", "s", WESAD_PPG, 5_785_612, 4_729_344),
    ("normwear", "normwear", "base", FOG_EMG, 136_112_328, 128_116_992),
]


@pytest.mark.parametrize(("model", "name", "preset", "signal", "total", "backbone"), COUNTS, ids=lambda v: str(v)[:16])
def test_names_shapes_and_counts_are_the_originals(
    shared: Path, model: str, name: str, preset: str, signal: SignalSpec, total: int, backbone: int
) -> None:
    encoder = build(name, signal, preset, device="meta")
    original = {key: shape for key, shape in manifest(shared, model).items() if not key.startswith("head.")}
    assert {key: tuple(value.shape) for key, value in encoder.state_dict().items()} == original
    assert parameter_count(encoder) == total
    assert parameter_count(encoder, backbone_only=True) == backbone


def test_normwear_trains_all_but_its_position_tables() -> None:
    encoder = build("normwear", FOG_EMG, "base", device="meta")
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 135_395_528
    encoder.freeze().requires_grad_(True)
    assert sum(p.numel() for p in encoder.parameters() if p.requires_grad) == 135_395_528
