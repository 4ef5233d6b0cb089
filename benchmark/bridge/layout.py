"""A bridge's output in the layout that the blocks of the old model take, and where it enters.

Shapes: B windows, D features, T tokens of the old block's input.
"""

from torch import Tensor

from benchmark.encoders.base import Encoder


def entered_block(old: Encoder, output: int | str) -> int:
    """The old block that is entered; the number of blocks means the head."""
    return old.n_blocks if output == "head" else int(output)


def entered_shape(old: Encoder, block: int) -> tuple[int, int]:
    """(T, D) of what is entered there: one pooled token at the head."""
    tokens, width = old.shape_at(block)
    return (1 if block == old.n_blocks else tokens), width


def to_block_input(old: Encoder, output: Tensor, layout: str = "transpose") -> Tensor:
    """The bridge's output (B, D_old, T) in the layout that the old model's blocks take.

    ``released`` reproduces the released code for LaBraM, which *reshapes* to (B, T, D_old), so that tokens and
    features are mixed; ``transpose`` is the method.
    """
    if layout == "released":
        batch, d_old, tokens = output.shape
        return old.from_tokens(output.reshape(batch, tokens, d_old))
    return old.from_tokens(output.transpose(1, 2))
