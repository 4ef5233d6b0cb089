"""The bridge is the published formula, and training it from the store is training it the plain way."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.bridge.layout import to_block_input
from benchmark.bridge.network import PrototypeBridge, count_parameters
from benchmark.bridge.objectives import LOSSES, rescale_large_gradients
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry
from benchmark.errors import InputError


def test_output_is_prototypes_times_low_rank_weights():
    bridge = PrototypeBridge(5, tokens=3, d_old=4, rank=2, prototypes=6, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(bridge.B)
    x = torch.randn(7, 5)
    found = bridge(x).detach().numpy()
    A, B, prototypes = (value.detach().numpy() for value in (bridge.A, bridge.B, bridge.prototypes))
    for window in range(7):
        weights = (B @ (A @ x[window].numpy())).reshape(6, 3)  # prototype by token
        np.testing.assert_allclose(found[window], prototypes @ weights, rtol=1e-5, atol=1e-6)


def test_first_output_is_zero_and_only_b_gets_a_gradient():
    bridge = PrototypeBridge(5, tokens=3, d_old=4, rank=2, prototypes=6)
    output = bridge(torch.randn(2, 5))
    (output - 1).square().sum().backward()
    assert not output.any()
    assert bridge.B.grad.any()
    assert not bridge.A.grad.any()
    assert not bridge.prototypes.grad.any()


# (d_new, tokens, d_old, rank, prototypes) of directions of the paper, and the paper's counts
@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((512, 235, 128, 32, 50), 398_784),
        ((64, 93, 512, 8, 150), 188_912),
        ((512, 181, 200, 32, 300), 1_813_984),
        ((200, 46, 512, 4, 200), 140_000),
    ],
)
def test_parameter_count_is_the_formula(shape, count):
    d_new, tokens, d_old, rank, prototypes = shape
    with torch.device("meta"):
        bridge = PrototypeBridge(*shape)
    counted = sum(p.numel() for p in bridge.parameters())
    assert counted == rank * d_new + prototypes * tokens * rank + d_old * prototypes == count_parameters(*shape)
    assert counted == count


@pytest.mark.parametrize(("option", "values"), [("bridge.rank", (0, 4)), ("bridge.prototypes", (4, 0))])
def test_a_bridge_without_rank_or_prototypes_is_refused(option, values):
    with pytest.raises(InputError, match=f"{option}=0"):
        PrototypeBridge(5, 3, 4, *values)


def test_transposed_layout_keeps_tokens_apart_and_the_released_one_mixes_them():
    signal = SignalSpec("eeg", ("F3", "C3"), 200.0, 400, "uV")
    old = registry.build("labram", signal)
    tokens, width = old.shape_at(1)
    output = torch.arange(2 * width * tokens, dtype=torch.float32).view(2, width, tokens)
    assert torch.equal(old.to_tokens(to_block_input(old, output))[1, 2], output[1, :, 2])
    assert torch.equal(to_block_input(old, output, "released").flatten(), output.flatten())


def test_losses_against_independent_formulas():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 6, 3, 4))
    flat_a, flat_b = a.reshape(6, -1), b.reshape(6, -1)
    similarity = flat_a @ flat_b.T / np.outer(np.linalg.norm(flat_a, axis=1), np.linalg.norm(flat_b, axis=1))
    logits = similarity / 0.1
    expected = {
        "cosine": np.mean(1 - np.diag(similarity)),
        "mse": np.mean((a - b) ** 2),
        "l1": np.mean(np.abs(a - b)),
        "infonce": np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits)),
    }
    for name, loss in LOSSES.items():
        assert float(loss(torch.tensor(a), torch.tensor(b))) == pytest.approx(expected[name], rel=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e-13, 1.0, 1e6])
def test_infonce_has_the_gradient_of_normalised_outputs_where_the_first_one_is_zero_too(scale):
    output = (scale * torch.randn(4, 3, 5, dtype=torch.float64)).requires_grad_()
    target = torch.randn(4, 3, 5, dtype=torch.float64)
    similarity = F.normalize(output.flatten(1)) @ F.normalize(target.flatten(1)).T
    (expected,) = torch.autograd.grad(F.cross_entropy(similarity / 0.1, torch.arange(4)), output)
    (found,) = torch.autograd.grad(LOSSES["infonce"](output, target), output)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("extreme", [500.0, 999.0, -1001.0, 1e6, 1e26, float("nan")])
def test_only_gradients_with_an_entry_above_the_limit_are_rescaled(extreme):
    """By the largest entry, not by the norm, which is above the limit in all of these."""
    bridge = PrototypeBridge(5, tokens=3, d_old=4, rank=2, prototypes=6)
    for p in bridge.parameters():
        p.grad = torch.full_like(p, 499.0)
    bridge.B.grad[0, 0] = extreme
    before = [p.grad.clone() for p in bridge.parameters()]
    rescale_large_gradients(bridge)
    divisor = abs(extreme) if abs(extreme) > 1000 else 1.0
    for p, gradient in zip(bridge.parameters(), before, strict=True):
        torch.testing.assert_close(p.grad, gradient / divisor, equal_nan=True, rtol=0, atol=0)
