"""Training through this project's encoders and bridge is the released training loop, loss by loss."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.bridge.training import Bridge
from benchmark.encoders import registry
from benchmark.registry import options_of
from tests.encoders.goldens import (
    ISRUC_ECG,
    ISRUC_EEG,
    WESAD_ECG,
    WESAD_PPG,
    golden_input,
    golden_tensor,
    golden_weights,
)

# (encoder, preset, manifest, signal, input shape) of old and new
DIRECTIONS = {
    "wesad_ppg2ecg": (
        ("papagei", "s", "papagei_s", WESAD_PPG, (1, 7500)),
        ("hubert_ecg", "small", "hubertecg_small", WESAD_ECG, (6000,)),
    ),
    "isruc_ecg2eeg": (
        ("hubert_ecg", "small", "hubertecg_small", ISRUC_ECG, (3000,)),
        ("labram", "base", "labram", ISRUC_EEG, (6, 30, 200)),
    ),
}
POINTS = {
    "wesad_ppg2ecg": {"input": 7, "output": 11, "rank": 32, "prototypes": 50},
    "isruc_ecg2eeg": {"input": 11, "output": 0, "rank": 4, "prototypes": 200},
}
WITHIN = 1e-4
"""Relative, of every loss and norm. In double precision what is left, some 4e-5, is the goldens' own rounding, which
Adam's first steps make larger; in single precision our own is as large again."""


@pytest.mark.parametrize("direction", ["wesad_ppg2ecg", pytest.param("isruc_ecg2eeg", marks=pytest.mark.slow)])
def test_losses_of_the_released_training_loop(shared, direction, monkeypatch):
    """The bridge's own epochs, on the windows in their order: 32 in batches of 8."""
    golden = np.load(shared / "golden" / f"trajectory_{direction}.npz")
    built, inputs = [], []
    for (name, preset, model, signal, shape), seed in zip(DIRECTIONS[direction], (777, 778), strict=True):
        encoder = registry.build(name, signal, preset, device="cpu").freeze()
        encoder.load_original_state_dict(golden_weights(shared, model))
        built.append(encoder.double())
        inputs.append(golden_input((32, *shape), seed).double())
    old, new = built
    options = {**POINTS[direction], "objective": "published", "learning_rate": float(golden["lr"]), "batch_size": 8}
    with torch.inference_mode():
        last = torch.cat([old(part) for part in inputs[0].split(8)])
        x = torch.cat([new.pool(new.run(new.embed(part), 0, options["input"] + 1)) for part in inputs[1].split(8)])
    np.testing.assert_allclose(x[24], golden["pooled_new_first"], rtol=1e-3, atol=1e-4)
    task = SimpleNamespace(
        old=old,
        new=new,
        head=torch.nn.Linear(old.shape_at(old.n_blocks)[1], 2),
        device=torch.device("cpu"),
        pooled=lambda *_: x.clone(),
        last=lambda _: last.clone(),
    )
    method = Bridge(task, options_of("bridge", options), seed=0)
    own = method.bridge.named_parameters()
    method.load_state({name: golden_tensor(f"bridge.{name}", tuple(p.shape)) for name, p in own})
    losses, measured = [], method.loss
    method.loss = lambda *pair: losses.append(found := measured(*pair)) or found
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    for _ in range(int(golden["steps"]) // 4):
        method.train_epoch()
    np.testing.assert_allclose([loss.item() for loss in losses], golden["losses"], rtol=WITHIN)
    for name, value in method.bridge.named_parameters():
        assert float(value.detach().norm()) == pytest.approx(float(golden[f"final_norm_{name}"]), rel=WITHIN)
