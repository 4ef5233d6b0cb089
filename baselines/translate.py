"""Translation: the old signal is made of the new one, and the frozen old model is asked about it.

After CardioGAN (Sarkar and Etemad, 2021, AAAI: ECG from PPG). Published: a cycle of two U-Nets, and discriminators in
time and in frequency, for windows of which no pair is known. Pairs are known here, so that one generator does, with an
L1 loss to the window that is paired; the adversarial term is an option, of one discriminator in time, of least squares
(LSGAN, Mao et al., 2017). No label is read, and neither foundation model is trained.

Shapes: B windows of a batch, C channels, N samples, D channels inside a network, K classes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines._distillation import SMALLEST
from benchmark.data.base import Windows
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders.base import Encoder
from benchmark.frozen.task import Task
from benchmark.frozen.weights import SIDES, Side
from benchmark.method import (
    Epoch,
    ForwardSeconds,
    Method,
    Size,
    block_parameters,
    copied,
    embed_parameters,
    linear_parameters,
)
from search_spaces.translate import Options

KERNEL = 5  # samples of every convolution
SLOPE = 0.2  # of leaky ReLUs below zero
LAYERS = 4  # of a discriminator
WINDOW_SECONDS = 2e-3  # of a training step for one window, for estimates


def convolution(n_in: int, n_out: int, stride: int = 1) -> nn.Conv1d:
    """(B, n_in, N) -> (B, n_out, ceil(N / stride))."""
    return nn.Conv1d(n_in, n_out, KERNEL, stride, KERNEL // 2)


def resampled(x: Tensor, n_samples: int) -> Tensor:
    """(B, D, N) -> (B, D, n_samples) over the same seconds: linear between samples where there are to be more, means
    where fewer."""
    if x.shape[-1] < n_samples:
        return F.interpolate(x, n_samples, mode="linear")
    return F.adaptive_avg_pool1d(x, n_samples)


class Generator(nn.Module):
    """A U-Net from windows of one signal (B, C, N) to windows of another, (B, C', N'), both standardised.

    The first convolution has the new signal's samples; behind it they are resampled to the old one's. Then ``depth``
    convolutions halve them (rounding up, so that any number will do), and as many bring them back, each beside what had
    that length on the way down.
    """

    def __init__(self, new: SignalSpec, old: SignalSpec, width: int, depth: int):
        super().__init__()
        self.n_samples = old.n_samples
        self.first = convolution(new.n_channels, width)
        self.down = nn.ModuleList(convolution(width, width, stride=2) for _ in range(depth))
        self.up = nn.ModuleList(convolution(2 * width, width) for _ in range(depth))
        self.last = convolution(width, old.n_channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = resampled(F.leaky_relu(self.first(x), SLOPE), self.n_samples)
        passed = []
        for layer in self.down:
            passed.append(hidden)
            hidden = F.leaky_relu(layer(hidden), SLOPE)
        for layer in self.up:
            beside = passed.pop()
            stretched = hidden.repeat_interleave(2, dim=-1)[..., : beside.shape[-1]]
            hidden = F.leaky_relu(layer(torch.cat([stretched, beside], dim=1)), SLOPE)
        return self.last(hidden)


def discriminator(old: SignalSpec, width: int) -> nn.Module:
    """(B, C, N) -> scores (B, 1, n), one for each stretch of the window: 1 for a true one, 0 for a generated one."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([old.n_channels, *[width] * (LAYERS - 1)]):
        layers += [convolution(n_in, n_out, stride=2), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, convolution(width, 1))


def least_squares(scores: Tensor, target: float) -> Tensor:
    """1/2 mean (score - target)^2."""
    return 0.5 * (scores - target).square().mean()


def moments(windows: Windows, indices: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over windows and samples, (C, 1) each; a batch is read at a time."""
    means, variances = [], []
    for start in range(0, len(indices), batch_size):
        x = windows.take(indices[start : start + batch_size]).astype(np.float64)
        means.append(x.mean(2))
        variances.append(x.var(2))
    mean, variance = np.concatenate(means), np.concatenate(variances)
    deviation = np.sqrt(variance.mean(0) + mean.var(0))
    return mean.mean(0)[:, None], np.maximum(deviation, SMALLEST)[:, None]


class Translate(Method):
    """Loss of the generator G and of the discriminator D, which take their steps in turn, D first:

    mean |G(x) - y| + adversarial 1/2 mean (D(G(x)) - 1)^2,    1/2 mean (D(y) - 1)^2 + 1/2 mean D(G(x))^2,

    x and y being new and old windows of a pair, every channel standardised over pair. What is generated gets the old
    signal's mean and scale back, and is prepared by the old encoder like a recorded window. D helps in training alone.
    """

    name = "translate"
    label = "Translation"
    resumable = ("generator", "discriminator", "optimizers", "order")

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        found = []
        for pick in (min, max):
            width, depth, adversarial = (pick(space[name]) for name in ("width", "depth", "adversarial"))
            with torch.device("meta"):
                modules: list[nn.Module] = [Generator(new.signal, old.signal, width, depth)]
                modules += [discriminator(old.signal, width)] if adversarial else []
            found.append(sum(p.numel() for module in modules for p in module.parameters()))
        return [Size("a generator of the old signal", *found)]

    @classmethod
    def seconds(
        cls, forward: ForwardSeconds, n_train: int, n_pair: int, n_val: int, space: Mapping[str, Sequence[Any]]
    ) -> float:
        return space["epochs"][0] * (WINDOW_SECONDS * n_pair + sum(forward.old) * n_val)

    def __init__(self, task: Task, options: Options, seed: int):
        assert options.width is not None
        assert options.depth is not None
        assert options.learning_rate is not None
        assert options.adversarial is not None
        self.task, self.old = task, task.old
        self.batch_size, self.n_epochs, self.adversarial = options.batch_size, options.epochs, options.adversarial
        self.pair = task.indices("pair")
        self.moments = {side: self._moments(side) for side in SIDES}
        self.order = torch.Generator().manual_seed(seed)
        signal = self.old.signal
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            generator = Generator(task.new.signal, signal, options.width, options.depth)
            critic = discriminator(signal, options.width) if options.adversarial else None
        self.generator = self._placed(generator)
        self.discriminator = None if critic is None else self._placed(critic)
        trained = [module for module in (self.generator, self.discriminator) if module is not None]
        self.optimizers = [torch.optim.Adam(module.parameters(), lr=options.learning_rate) for module in trained]
        self.trainable_parameters = sum(p.numel() for module in trained for p in module.parameters())
        self.stored_parameters = (
            sum(p.numel() for p in self.generator.parameters())
            + embed_parameters(self.old)
            + block_parameters(self.old, 0, self.old.n_blocks)
            + linear_parameters(task.head)
        )

    def _placed(self, module: nn.Module) -> nn.Module:
        return module.to(self.task.device, self.old.dtype)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.task.device, self.old.dtype)

    def _moments(self, side: Side) -> tuple[Tensor, Tensor]:
        mean, deviation = moments(self.task.windows(side), self.pair, self.batch_size)
        return self._tensor(mean), self._tensor(deviation)

    def standardised(self, side: Side, windows: np.ndarray) -> Tensor:
        """Raw windows (B, C, N) in units of the pair split's deviation from its mean."""
        mean, deviation = self.moments[side]
        return (self._tensor(windows) - mean) / deviation

    def train_epoch(self) -> Epoch:
        total, steps = 0.0, 0
        for rows in torch.randperm(len(self.pair), generator=self.order).split(self.batch_size):
            old, new = (
                self.standardised(side, self.task.windows(side).take(self.pair[rows.numpy()])) for side in SIDES
            )
            made = self.generator(new)
            loss = F.l1_loss(made, old)
            if self.discriminator is not None:
                self._step(self.optimizers[1], self.discriminator_loss(made.detach(), old))
                loss = loss + self.adversarial * least_squares(self.discriminator(made), 1)
            self._step(self.optimizers[0], loss)
            total, steps = total + loss.item(), steps + 1
        return Epoch(total / steps, steps, len(self.pair))

    def discriminator_loss(self, made: Tensor, old: Tensor) -> Tensor:
        assert self.discriminator is not None
        return least_squares(self.discriminator(old), 1) + least_squares(self.discriminator(made), 0)

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def translated(self, windows: np.ndarray) -> np.ndarray:
        """Raw new windows (B, C, N) -> old windows (B, C', N') as they would be recorded, in the old signal's unit."""
        mean, deviation = self.moments["old"]
        return (self.generator(self.standardised("new", windows)) * deviation + mean).cpu().numpy()

    @torch.no_grad()
    def _pooled(self, windows: np.ndarray) -> Tensor:
        return self.old.pool(self.old(self.old.inputs(self.translated(windows))))

    def predict(self, windows: np.ndarray) -> Tensor:
        return self.task.decide(self._pooled(windows))

    def logits(self, split: str) -> Tensor:
        """Calibrated by what was made of a wearer's windows of the split, as those that were recorded are by these."""
        indices, size, windows = self.task.indices(split), self.task.batch_size, self.task.windows("new")
        pooled = torch.cat([self._pooled(windows.take(indices[k : k + size])) for k in range(0, len(indices), size)])
        if self.task.calibrates("old"):
            pooled = self.task.within_wearers(pooled, indices, self.task.population("old", self.old.n_blocks))
        return self.task.head(pooled)

    def state(self) -> dict[str, Tensor]:
        return copied(self.generator)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.generator.load_state_dict(state)
