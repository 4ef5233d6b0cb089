"""A linear head on frozen new features that learns the teacher's soft decision of each pair."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from baselines._features import LinearOnFeatures
from benchmark.frozen.teacher import linear
from search_spaces.probe_soft import Options


def fit_soft(x: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight (K, D) and bias (K,) that minimise mean KL(target || softmax(W x + b)) + penalty / 2 |W|^2.

    ``x`` (N, D), ``target`` (N, K) probabilities. Convex in W and b; L-BFGS from zero.
    """
    (n, d), k = x.shape, target.shape[1]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: k * d].reshape(k, d), flat[k * d :]
        logs = log_softmax(x @ weight.T + bias, axis=1)
        error = (np.exp(logs) - target) / n
        gradient = np.concatenate([(error.T @ x + penalty * weight).ravel(), error.sum(0)])
        return float(-(target * logs).sum() / n + penalty / 2 * np.square(weight).sum()), gradient

    found = minimize(objective, np.zeros(k * d + k), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    return found[: k * d].reshape(k, d), found[k * d :]


class SoftProbe(LinearOnFeatures):
    """Features are standardised over pair; teacher and probe are softened by one temperature, as in distillation."""

    name = "probe_soft"
    label = "Soft probe"
    seeded = False

    def fit(self, x: Tensor, options: Options, seed: int) -> None:
        assert options.temperature is not None
        assert options.penalty is not None
        soft = (self.task.teacher_logits("pair").double() / options.temperature).softmax(1).cpu().numpy()
        scaler = StandardScaler()
        weight, bias = fit_soft(scaler.fit_transform(x.double().cpu().numpy()), soft, options.penalty)
        weight = weight / scaler.scale_
        self.keep(linear(options.temperature * weight, options.temperature * (bias - weight @ scaler.mean_)))
