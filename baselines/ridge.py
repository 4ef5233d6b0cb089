"""A linear map from frozen new features to the old encoder's pooled last output, and then the teacher's own head.

``affine`` is ridge regression. ``orthogonal`` is the Procrustes map of latent space translation (Maiorca et al., 2023,
arXiv 2311.00664): both spaces standardised, the narrower one padded with zeros, and a rotation between them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from baselines._features import OnFeatures
from benchmark.encoders.base import Encoder
from benchmark.frozen.teacher import linear
from benchmark.method import Size, linear_parameters
from search_spaces.ridge import Options


def affine(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """W (D_x, D_y) that minimises |x W - y|^2 / N + penalty |W|^2; both centred."""
    return np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T @ y)


def orthogonal(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The orthogonal W that minimises |x W - y|^2 (Schönemann, 1966), of its first D_x rows and D_y columns where the
    widths differ, as if the narrower were padded with zeros."""
    width = max(x.shape[1], y.shape[1])
    crossed = np.zeros((width, width))
    crossed[: x.shape[1], : y.shape[1]] = x.T @ y
    left, _, right = np.linalg.svd(crossed)
    return (left @ right)[: x.shape[1], : y.shape[1]]


class Ridge(OnFeatures):
    """Both sides are standardised over pair."""

    name = "ridge"
    label = "Linear map"
    seeded = False

    @classmethod
    def sizes(cls, old: Encoder, new: Encoder, n_classes: int, space: Mapping[str, Sequence[Any]]) -> Sequence[Size]:
        widths = [new.shape_at(block + 1)[1] for block in space["block"]]
        out = old.shape_at(old.n_blocks)[1]
        return [Size("into the teacher's head", (min(widths) + 1) * out, (max(widths) + 1) * out)]

    def fit(self, x: Tensor, options: Options, seed: int) -> None:
        assert options.penalty is not None
        y = self.task.pooled("old", "pair", self.task.old.n_blocks)
        scale_x, scale_y = StandardScaler(), StandardScaler()
        standard_x = scale_x.fit_transform(x.double().cpu().numpy())
        standard_y = scale_y.fit_transform(y.double().cpu().numpy())
        mapped = (
            affine(standard_x, standard_y, options.penalty)
            if options.map == "affine"
            else orthogonal(standard_x, standard_y)
        )
        weight = mapped.T * scale_y.scale_[:, None] / scale_x.scale_
        layer = linear(weight, scale_y.mean_ - weight @ scale_x.mean_)
        self.map: nn.Linear = layer.to(self.task.device, self.task.new.dtype)
        self.trainable_parameters = linear_parameters(layer)

    def from_features(self, x: Tensor) -> Tensor:
        return self.task.head(self.map(x).to(self.task.head.weight.dtype))
