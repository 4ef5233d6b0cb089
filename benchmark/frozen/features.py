"""What is computed: one pass of a frozen encoder over a split, from any row on.

Shapes: B windows of a batch, T tokens, D features. The text of this file is part of every entry's key.
"""

from collections.abc import Iterator

import numpy as np
import torch

from benchmark.cache import Progress, silent
from benchmark.data.base import Windows
from benchmark.encoders.base import Encoder


@torch.inference_mode()
def one_pass(
    encoder: Encoder,
    windows: Windows,
    indices: np.ndarray,
    *,
    last: bool = False,
    batch_size: int,
    begin: int = 0,
    progress: Progress = silent,
) -> Iterator[dict[str, np.ndarray]]:
    """Run the encoder once over ``windows[indices[begin:]]``.

    Yields, per batch, ``pooled/k`` (B, D_k): the mean over tokens of what block k takes, ``pooled/n`` being the
    last block's output; and, with ``last``, ``last``: that output in the model's own layout. ``progress`` counts the
    rows in front of ``begin`` as done.
    """
    for row in range(begin, len(indices), batch_size):
        part = indices[row : row + batch_size]
        hidden = encoder.embed(encoder.inputs(windows.take(part)))
        found = {"pooled/0": encoder.pool(hidden)}
        for block in range(encoder.n_blocks):
            hidden = encoder.run(hidden, block, block + 1)
            found[f"pooled/{block + 1}"] = encoder.pool(hidden)
        if last:
            found["last"] = hidden
        yield {name: values.cpu().numpy() for name, values in found.items()}
        progress(row + len(part), len(indices), "features")


@torch.inference_mode()
def block_inputs(
    encoder: Encoder,
    windows: Windows,
    indices: np.ndarray,
    block: int,
    *,
    batch_size: int,
    begin: int = 0,
    progress: Progress = silent,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields ``input`` per batch: what ``block`` takes, token by token, in the model's own layout."""
    for row in range(begin, len(indices), batch_size):
        part = indices[row : row + batch_size]
        hidden = encoder.embed(encoder.inputs(windows.take(part)))
        yield {"input": encoder.run(hidden, 0, block).cpu().numpy()}
        progress(row + len(part), len(indices), f"inputs of block {block}")
