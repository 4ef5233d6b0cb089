"""What a bridge starts from, beside random numbers: real tokens, or the best linear map of its rank.

Shapes: N windows of the pair split, T tokens and D_old features of what is entered, P prototypes, r rank.
"""

import torch
from torch import Tensor

from benchmark.bridge.network import PrototypeBridge
from benchmark.frozen.task import Task

MOST_WINDOWS = 512
PENALTY = 1e-2  # of the ridge, per window, in units of the mean variance of a feature


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
def regress(bridge: PrototypeBridge, x: Tensor, tokens: Tensor) -> None:
    """Start from the reduced-rank ridge regression (Izenman, 1975) of real inputs of the old block on x.

    The prototypes become the tokens' principal axes, each as long as the tokens' root mean square along it; A and B are
    the best map of rank r from x to the coefficients along them. What the tokens have no more axes for stays random,
    with weights of zero.

    Parameters
    ----------
    x : (N, D_new), as the bridge takes it.
    tokens : (N, T, D_old).
    """
    rank, n = len(bridge.A), len(x)
    x, tokens = x.double(), tokens.to(x.device).double()
    flat = tokens.flatten(0, 1)
    squares, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
    lengths = squares.clamp_min(0).sqrt().flip(0)
    kept = int(min(bridge.prototypes.shape[1], (lengths > 1e-6 * lengths[0]).sum()))
    axes, lengths = axes.flip(1)[:, :kept], lengths[:kept]
    coefficients = (tokens @ axes / lengths).transpose(1, 2).flatten(1)  # (N, P T), prototype by token
    gram = x.T @ x / n
    penalty = PENALTY * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram + penalty, x.T @ coefficients / n)
    # The fitted values' right singular vectors are those of R W, where x = Q R.
    _, _, directions = torch.linalg.svd(torch.linalg.qr(x, mode="r")[1] @ weights, full_matrices=False)
    directions = directions[:rank].T
    bridge.prototypes[:, :kept] = (axes * lengths).to(bridge.prototypes)
    bridge.A[: directions.shape[1]] = (weights @ directions).T.to(bridge.A)
    bridge.B.zero_()
    bridge.B[: len(directions), : directions.shape[1]] = directions.to(bridge.B)
