"""Where to build: the two-stage rule of the paper, from features that one pass has stored.

Stage 1 (quality): the new block whose pooled output tells the teacher's pseudo-labels best. Stage 2 (similarity): the
old block whose pooled input is most like that output. Shapes: N windows of the pair split, D features.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.frozen.task import Task
from benchmark.results.schema import Column

FOLDS = 5
MINIBATCH = 256  # windows
COLUMNS = (
    Column("trial_id", "str", "of the pair of blocks"),
    Column("fold", "int", "of the split"),
    Column("bridge_input", "int", "block of the new model"),
    Column("bridge_output", "int", "block of the old model"),
    Column("quality", "float", "of the new block's output: macro-F1 of a probe of the teacher's pseudo-labels"),
    Column("similarity", "float", "of the new block's output and the old block's input: CKA"),
    Column("chosen", "bool", "whether the bridge is built there"),
)
"""Of ``positions.parquet``."""


@dataclass(frozen=True)
class Positions:
    """What was chosen and everything that it was chosen from.

    ``quality`` (n_new,): macro-F1 of a probe on each new block's output. ``similarity`` (n_new, n_old): CKA of each new
    block's output with each old block's input.
    """

    input: int
    output: int
    quality: np.ndarray
    similarity: np.ndarray


def quality(pooled: np.ndarray, pseudo_label: np.ndarray, seed: int) -> float:
    """Macro-F1 of a logistic regression on standardised features (N, D), the mean over 5 stratified folds.

    Where a class has fewer windows, there are as many folds as it has windows. A class with a single window is trained
    on in every fold and not scored, since no fold can both train and test it. With fewer than two classes to score,
    nothing can be told and the quality is 0.
    """
    counts = np.bincount(pseudo_label)
    scorable = np.flatnonzero(counts > 1)
    if len(scorable) < 2:
        return 0.0
    folds = StratifiedKFold(min(FOLDS, int(counts[scorable].min())), shuffle=True, random_state=seed)
    scored = np.isin(pseudo_label, scorable)
    tested, always = np.flatnonzero(scored), np.flatnonzero(~scored)
    splits = [
        (np.append(tested[train], always), tested[test]) for train, test in folds.split(tested, pseudo_label[tested])
    ]
    scoring = make_scorer(f1_score, labels=scorable, average="macro")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(model, pooled, pseudo_label, cv=splits, scoring=scoring).mean())


def linear_cka(x: np.ndarray, y: np.ndarray, debiased: bool = False) -> float:
    """Linear centred kernel alignment of (N, D_x) and (N, D_y); Kornblith et al. (2019), arXiv 1905.00414.

    ``debiased`` takes the unbiased estimate of HSIC (Song et al., 2012), which few windows and many features need.
    Memory: N x N with ``debiased``, D_x x D_y without. Constant features give 0.
    """
    x, y = x - x.mean(0), y - y.mean(0)
    if debiased:
        both, alone_x, alone_y = (_unbiased_hsic(a @ a.T, b @ b.T) for a, b in ((x, y), (x, x), (y, y)))
    else:
        both, alone_x, alone_y = (float(np.square(a.T @ b).sum()) for a, b in ((x, y), (x, x), (y, y)))
    scale = alone_x * alone_y
    return both / float(np.sqrt(scale)) if scale > 0 else 0.0


def minibatch_cka(x: np.ndarray, y: np.ndarray, batch_size: int, seed: int) -> float:
    """Linear CKA from unbiased HSIC averaged over batches (Nguyen et al., 2021, arXiv 2010.15327).

    For splits whose N x N does not fit; batches of fewer than 4 windows are left out. A batch is centred first: that
    changes nothing but the digits that a large mean would cost.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    sums = np.zeros(3)
    for begin in range(0, len(x), batch_size):
        rows = order[begin : begin + batch_size]
        if len(rows) < 4:
            continue
        gram_x, gram_y = (centred @ centred.T for centred in (part - part.mean(0) for part in (x[rows], y[rows])))
        sums += [_unbiased_hsic(gram_x, gram_y), _unbiased_hsic(gram_x, gram_x), _unbiased_hsic(gram_y, gram_y)]
    scale = sums[1] * sums[2]
    return float(sums[0] / np.sqrt(scale)) if scale > 0 else 0.0


def _unbiased_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC_1 of two Gram matrices (n, n), n >= 4; Song et al. (2012), equation 5."""
    n = len(k)
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    trace = float((k * m).sum())
    sums = float(k.sum() * m.sum()) / ((n - 1) * (n - 2))
    crossed = 2 * float(k.sum(0) @ m.sum(0)) / (n - 2)
    return (trace + sums - crossed) / (n * (n - 3))


def rows(found: Positions, fold: int) -> list[dict[str, Any]]:
    """A row for every pair of blocks, as ``positions.parquet`` keeps them."""
    return [
        {
            "trial_id": f"positions-fold{fold}-{i}-{j}",
            "fold": fold,
            "bridge_input": i,
            "bridge_output": j,
            "quality": float(found.quality[i]),
            "similarity": float(found.similarity[i, j]),
            "chosen": (i, j) == (found.input, found.output),
        }
        for i, j in np.ndindex(*found.similarity.shape)
    ]


def _similarity(kind: str, seed: int) -> Callable[[np.ndarray, np.ndarray], float]:
    kinds: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "cka": linear_cka,
        "debiased_cka": partial(linear_cka, debiased=True),
        "minibatch_cka": partial(minibatch_cka, batch_size=MINIBATCH, seed=seed),
    }
    return kinds[kind]


def select(task: Task, seed: int, similarity: str = "cka") -> Positions:
    """Both stages on the pair split, which has no labels: the teacher's pseudo-labels stand for them.

    ``similarity``: cka, debiased_cka or minibatch_cka. The lowest block wins a tie: of the new model, the one that
    costs least to run.
    """
    n_new, n_old = task.new.n_blocks, task.old.n_blocks
    alike = _similarity(similarity, seed)
    pseudo_label = task.teacher_logits("pair").argmax(1).cpu().numpy()
    outputs = [task.pooled("new", "pair", i + 1).double().cpu().numpy() for i in range(n_new)]
    inputs = [task.pooled("old", "pair", j).double().cpu().numpy() for j in range(n_old)]
    qualities = np.array([quality(output, pseudo_label, seed) for output in outputs])
    similarities = np.array([[alike(x, y) for y in inputs] for x in outputs])
    chosen = int(qualities.argmax())
    return Positions(chosen, int(similarities[chosen].argmax()), qualities, similarities)
