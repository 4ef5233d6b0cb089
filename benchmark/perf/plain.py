"""The straightforward loop: what the released code of the paper does at every step, written down plainly.

It is here to be measured against, and nothing else uses it. As there, each training step runs the new model whole, the
old model whole for the target, and the old model whole once more with the input of block j replaced by the bridge's
output; only a LaBraM is frozen, so that elsewhere gradients of weights that are never trained are computed and thrown
away. As there, both models run once for every block whose features are wanted. Kinder than there: windows are prepared
once, targets are computed without a graph, and everything is in evaluation mode.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.bridge.layout import entered_block, entered_shape, to_block_input
from benchmark.bridge.network import PrototypeBridge
from benchmark.bridge.objectives import LOSSES, rescale_large_gradients
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from search_spaces.bridge import Options


class PlainLoop:
    """One bridge, trained and evaluated without a store.

    ``bridge`` starts from the given weights, so that losses can be compared with those of training from the store.
    """

    def __init__(self, task: Task, options: Options, state: Mapping[str, Tensor]):
        self.old, self.new, self.head = task.old, task.new, task.head
        assert options.input is not None
        assert options.output is not None
        assert options.rank is not None
        assert options.prototypes is not None
        assert options.learning_rate is not None
        self.i, self.j = options.input, entered_block(task.old, options.output)
        self.layout = options.layout
        tokens, d_old = entered_shape(self.old, self.j)
        d_new = self.new.shape_at(self.i + 1)[1]
        self.bridge = PrototypeBridge(d_new, tokens, d_old, options.rank, options.prototypes)
        self.bridge.load_state_dict(state)
        self.bridge.to(task.device, self.new.dtype)
        self.optimizer = torch.optim.Adam(self.bridge.parameters(), lr=options.learning_rate)
        self.loss = LOSSES[options.loss]

    @property
    def at_head(self) -> bool:
        return self.j == self.old.n_blocks

    def _enter(self, old: Tensor, new: Tensor) -> Tensor:
        """The old model whole, in which block j takes the bridge's output in place of its input: its last output.

        At the head that is the bridge's own output, pooled as the head takes it.
        """
        with torch.no_grad():
            x = self.new.pool(self.new.block_outputs(new)[self.i + 1])
        self.old.run(self.old.embed(old), 0, self.j)
        if self.at_head:
            return self.bridge(x).squeeze(-1)
        entered = to_block_input(self.old, self.bridge(x), self.layout)
        return self.old.run(entered, self.j, self.old.n_blocks)

    def step(self, old: Tensor, new: Tensor) -> float:
        """Prepared inputs of one batch -> its loss; the bridge is updated."""
        frozen = self.old.name == "labram"
        self.old.requires_grad_(not frozen)
        with torch.no_grad():
            target = self.old.pool(self.old(old)) if self.at_head else self.old(old)
        loss = self.loss(self._enter(old, new), target)
        self.optimizer.zero_grad()
        loss.backward()
        rescale_large_gradients(self.bridge)
        self.optimizer.step()
        self.old.requires_grad_(False)
        for parameter in self.old.parameters():
            parameter.grad = None
        return loss.item()

    @torch.no_grad()
    def evaluate(self, old: Tensor, new: Tensor) -> Tensor:
        """Logits of one batch."""
        last = self._enter(old, new)
        return self.head(last if self.at_head else self.old.pool(last))


@torch.inference_mode()
def once_per_block(encoder: Encoder, inputs: Tensor) -> list[Tensor]:
    """The pooled output of every block, each from a whole run of the model."""
    return [encoder.pool(encoder.block_outputs(inputs)[block + 1]) for block in range(encoder.n_blocks)]
