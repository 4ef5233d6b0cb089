"""Training through this project's encoders and bridge is the released training loop, loss by loss."""

import numpy as np
import pytest
import torch

from benchmark.bridge.layout import to_block_input
from benchmark.bridge.network import PrototypeBridge
from benchmark.bridge.objectives import cosine
from benchmark.encoders import registry
from tests.encoders.goldens import (
    ISRUC_ECG,
    ISRUC_EEG,
    WESAD_ECG,
    WESAD_PPG,
    golden_input,
    golden_tensor,
    golden_weights,
)

# file, (encoder, preset, manifest, signal, input shape) of old and new, (i, j, rank, prototypes)
DIRECTIONS = {
    "wesad_ppg2ecg": (
        ("papagei", "s", "papagei_s", WESAD_PPG, (1, 7500)),
        ("hubert_ecg", "small", "hubertecg_small", WESAD_ECG, (6000,)),
        (7, 11, 32, 50),
    ),
    "isruc_ecg2eeg": (
        ("hubert_ecg", "small", "hubertecg_small", ISRUC_ECG, (3000,)),
        ("labram", "base", "labram", ISRUC_EEG, (6, 30, 200)),
        (11, 0, 4, 200),
    ),
}


@pytest.mark.parametrize("direction", ["wesad_ppg2ecg", pytest.param("isruc_ecg2eeg", marks=pytest.mark.slow)])
def test_losses_of_the_released_training_loop(shared, direction):
    golden = np.load(shared / "golden" / f"trajectory_{direction}.npz")
    *sides, (i, j, rank, prototypes) = DIRECTIONS[direction]
    built, inputs = [], []
    for (name, preset, model, signal, shape), seed in zip(sides, (777, 778), strict=True):
        encoder = registry.build(name, signal, preset, device="cpu").freeze()
        encoder.load_original_state_dict(golden_weights(shared, model))
        built.append(encoder)
        inputs.append(golden_input((32, *shape), seed))
    old, new = built
    with torch.inference_mode():
        last = torch.cat([old(part) for part in inputs[0].split(8)])
        x = torch.cat([new.pool(new.run(new.embed(part), 0, i + 1)) for part in inputs[1].split(8)])
    last, x = last.clone(), x.clone()
    np.testing.assert_allclose(x[24], golden["pooled_new_first"], rtol=1e-3, atol=1e-4)

    tokens, d_old = old.shape_at(j)
    bridge = PrototypeBridge(x.shape[1], tokens, d_old, rank, prototypes)
    bridge.load_state_dict({n: golden_tensor(f"bridge.{n}", tuple(p.shape)) for n, p in bridge.named_parameters()})
    optimizer = torch.optim.Adam(bridge.parameters(), lr=float(golden["lr"]))
    losses = []
    for step in range(int(golden["steps"])):
        rows = slice(8 * (step % 4), 8 * (step % 4) + 8)
        loss = cosine(old.run(to_block_input(old, bridge(x[rows])), j, old.n_blocks), last[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-4)
    for name, value in bridge.named_parameters():
        assert float(value.detach().norm()) == pytest.approx(float(golden[f"final_norm_{name}"]), rel=1e-4)
