"""What a bridge is trained for: the distance of what comes out from what should, and what keeps its first steps sane.

Shapes: B windows of a batch; outputs and targets have any further dimensions, D features of a pooled output.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.bridge.network import PrototypeBridge

INFONCE_TEMPERATURE = 0.1
MOST_GRADIENT = 1e3


def cosine(output: Tensor, target: Tensor) -> Tensor:
    """1 - cosine similarity of the flattened tensors of each window, averaged."""
    return F.cosine_embedding_loss(output.flatten(1), target.flatten(1), output.new_ones(len(output)))


def infonce(output: Tensor, target: Tensor) -> Tensor:
    """InfoNCE over the batch (van den Oord et al., 2018): a window's own target among those of the others."""
    flat = output.flatten(1)
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp_min(1e-12)  # as F.normalize has it
    # The products are divided, B x B of them, and not the outputs: a step of FOG EEG to EMG is 2 % shorter.
    similarity = flat @ F.normalize(target.flatten(1)).T / (length * INFONCE_TEMPERATURE)
    return F.cross_entropy(similarity, torch.arange(len(output), device=output.device))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "infonce": infonce,
}


def on_pooled(
    head: nn.Linear, decision: float, pooled: float, temperature: float, variance: float, weight: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of pooled outputs (B, D) of the old model's last block, against the teacher's own.

    Parameters
    ----------
    decision : weight of T^2 KL(teacher || bridge) of what the frozen head says of both, softened by T = ``temperature``
        (Hinton et al., 2015, arXiv 1503.02531).
    pooled : weight of the mean squared error, in units of the ``variance`` of the teacher's features.
    weight : (K,) of a window in the decision, by the class that the teacher finds most likely.
    """

    def loss(output: Tensor, target: Tensor) -> Tensor:
        total = output.new_zeros(())
        if decision:
            said, taught = (F.log_softmax(head(one) / temperature, -1) for one in (output, target))
            divergence = (taught.exp() * (taught - said)).sum(-1)  # kl_div has no batching rule
            total = total + decision * temperature**2 * (weight[taught.argmax(-1)] * divergence).mean()
        if pooled:
            total = total + pooled * F.mse_loss(output, target) / variance
        return total

    return loss


OBJECTIVES: dict[str, tuple[float, float]] = {"decision": (1.0, 0.0), "pooled": (0.0, 1.0), "both": (1.0, 1.0)}
"""Weights of the decision and of the pooled features, where it is not the published objective."""


def rescale_large_gradients(bridge: PrototypeBridge, most: float = MOST_GRADIENT) -> None:
    """Scale a gradient with an entry above ``most`` so that its largest is 1.

    The first output is zero (B is), where a cosine has no direction and a layer norm without bias multiplies by
    1 / sqrt(eps): gradients of 1e6 to 1e26. Adam would remember one for thousands of steps and hardly move.
    Other gradients are below (at most 130 in the paper's directions), so that the published training is kept.
    """
    gradients = [p.grad for p in bridge.parameters() if p.grad is not None]
    # No entry is larger than the norm, which is had in half the time; a half leaves room for rounding.
    if torch.stack([gradient.flatten().dot(gradient.flatten()) for gradient in gradients]).sum() < (most / 2) ** 2:
        return
    largest = torch.stack([extreme for gradient in gradients for extreme in gradient.aminmax()]).abs().max()
    if largest > most:
        for gradient in gradients:
            gradient.div_(largest)
