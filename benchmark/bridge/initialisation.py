"""What a bridge starts from, beside random numbers: real tokens, or the best linear map of its rank.

Shapes: N windows of the pair split, T tokens and D_old features of what is entered, P prototypes, r rank.
"""

import torch
from torch import Tensor

from benchmark.bridge.network import PrototypeBridge
from benchmark.frozen.task import Task

MOST_WINDOWS = 512
PENALTY = 0.1  # of the ridge, per window, in units of the mean square of a feature


def real_inputs(task: Task, block: int, windows: Tensor) -> Tensor:
    """What the old ``block`` takes for these windows of pair, token by token (n, T, D_old); pooled at the head."""
    if block == task.old.n_blocks:
        return task.pooled("old", "pair", block)[windows][:, None]
    return task.old.to_tokens(task.block_input("pair", block)[windows])


def real_tokens(task: Task, block: int, prototypes: int, n: int, generator: torch.Generator) -> Tensor:
    """``prototypes`` token vectors (P, D_old) drawn from real inputs of an old block: ``init=randreal``."""
    windows = torch.randint(n, (prototypes,), generator=generator)
    if block == task.old.n_blocks:
        return real_inputs(task, block, windows)[:, 0].cpu()
    tokens = real_inputs(task, block, windows)
    token = torch.randint(tokens.shape[1], (prototypes,), generator=generator)
    return tokens[torch.arange(prototypes), token]


@torch.no_grad()
def regress(bridge: PrototypeBridge, x: Tensor, tokens: Tensor, penalty: float = PENALTY) -> None:
    """Start from the reduced-rank ridge regression (Izenman, 1975) of real inputs of the old block on x.

    The prototypes become the tokens' principal axes, each as long as the tokens' root mean square along it; A takes x
    to the r scores that the ridge's fit varies along most, and B is the least-squares map from those to the
    coefficients: the penalty turns the scores and does not shrink what is made of them. What the tokens have no more
    axes for stays random, with weights of zero.

    Parameters
    ----------
    x : (N, D_new), as the bridge takes it.
    tokens : (N, T, D_old).
    penalty : of the ridge, per window, in units of the mean square of a feature; a feature that is constant has none.
    """
    rank, n = len(bridge.A), len(x)
    x, tokens = x.double(), tokens.to(x.device).double()
    flat = tokens.flatten(0, 1)
    squares, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
    lengths = squares.clamp_min(0).sqrt().flip(0)
    kept = int(min(bridge.prototypes.shape[1], (lengths > 1e-6 * lengths[0]).sum()))
    axes, lengths = axes.flip(1)[:, :kept], lengths[:kept]
    coefficients = (tokens @ axes).transpose(1, 2).flatten(1)  # (N, P T), prototype by token
    gram = x.T @ x / n
    held = penalty * gram.diagonal().mean() * (x.var(0) > 0)
    weights = torch.linalg.solve(gram + torch.diag(held), x.T @ coefficients / n)
    # The fitted values' right singular vectors are those of R W, where x = Q R.
    _, _, directions = torch.linalg.svd(torch.linalg.qr(x, mode="r")[1] @ weights, full_matrices=False)
    directions = directions[:rank].T
    scores = weights @ directions
    scores /= (x @ scores).square().mean(0).sqrt().clamp_min(1e-12)  # of the size that a learning rate is made for
    bridge.prototypes[:, :kept] = (axes * lengths).to(bridge.prototypes)
    bridge.A[: scores.shape[1]] = scores.T.to(bridge.A)
    bridge.B.zero_()
    made = (torch.linalg.pinv(x @ scores) @ coefficients).T / lengths.repeat_interleave(tokens.shape[1])[:, None]
    bridge.B[: len(made), : made.shape[1]] = made.to(bridge.B)
