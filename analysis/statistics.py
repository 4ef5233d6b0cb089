"""One estimator and its interval: what is measured on a seed's pooled test predictions, and its spread by subject."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from analysis.run import Run
from benchmark.common.scores import scores

DRAWS = 10_000
SEED = 0

COUNTED = ["subject", "label", "prediction"]
"""What a prediction has to say to be counted."""
METRICS = ("balanced_accuracy", "macro_f1", "weighted_f1", "accuracy", "kappa", "agreement")


def summarise(run: Run) -> pl.DataFrame:
    """One row per method with final trials that are done: mean and sample deviation over seeds of each metric.

    A seed's value is that of its test predictions of all folds, pooled: every window weighs the same, whichever fold
    tested it. The deviation of a single seed is null.

    Returns:
        method, then each metric, and with ``_sd`` its deviation.
    """
    rows = [
        {
            "method": method,
            **{name: float(value) for name, value in scores(counts.sum(0)).items()},
            "agreement": windows.select((pl.col("prediction") == pl.col("teacher_prediction")).mean()).item(),
        }
        for (method, _), windows, counts in counted(run, "method", "seed")
    ]
    return (
        pl.DataFrame(rows, schema={"method": pl.String, **dict.fromkeys(METRICS, pl.Float64)})
        .group_by("method", maintain_order=True)
        .agg(
            expression
            for name in METRICS
            for expression in (pl.col(name).mean(), pl.col(name).std(ddof=1).alias(f"{name}_sd"))
        )
    )


def bootstrap_balanced_accuracy(
    run: Run, draws: int = DRAWS, seed: int = SEED, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """A percentile interval of the balanced accuracy of ``summarise`` over subjects drawn with replacement.

    A drawn subject brings all its windows. Every method sees the same draws of the same subjects; a seed counts in
    the draws that hold a subject of its own.

    Returns:
        method -> (low, high) in [0, 1]. A method predicted for fewer than two subjects has none: the spread
        between subjects cannot be seen on one.
    """
    seeds: dict[str, list[np.ndarray]] = {}
    for (method, _), _, counts in counted(run, "method", "seed"):
        seeds.setdefault(method, []).append(counts)
    intervals = {}
    for method, of_seeds in seeds.items():
        counts = np.stack(of_seeds)
        if np.count_nonzero(counts.any((0, 2, 3))) > 1:
            intervals[method] = percentiles(redrawn(counts, subject_draws(counts.shape[1], draws, seed)), level)
    return intervals


@lru_cache(maxsize=4)
def subject_draws(n: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """How often each draw (draws, n) with replacement holds each of ``n`` subjects."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)


def redrawn(counts: np.ndarray, weights: np.ndarray) -> np.ma.MaskedArray:
    """Balanced accuracy in each draw (draws,), masked where a draw holds no window of any seed.

    Args:
        counts: (seeds, subjects, true, predicted class).
        weights: (draws, subjects).
    """
    of_seeds = [scores(np.tensordot(weights, of_seed, axes=1))["balanced_accuracy"] for of_seed in counts]
    return np.ma.masked_invalid(of_seeds).mean(axis=0)


def percentiles(values: np.ma.MaskedArray, level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds a share of ``level`` of the values."""
    low, high = np.quantile(values.compressed(), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def subjects_of(run: Run) -> list[str]:
    """Subjects of the final test predictions, as ``counted`` numbers them."""
    return sorted(set(run.final_predictions.drop_nulls(COUNTED)["subject"]))


def counted(run: Run, *by: str) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame, np.ndarray]]:
    """Test predictions group by group of columns ``by``: their values, the windows, and counts of these (subjects of
    the run, true, predicted class).

    Sorted: sums in another order differ in their last digit from one run to the next.
    """
    predictions = run.final_predictions.drop_nulls(COUNTED).sort(*by)
    subjects = subjects_of(run)
    number = pl.col("subject").replace_strict({name: k for k, name in enumerate(subjects)}, return_dtype=pl.Int64)
    numbered = predictions.with_columns(number=number)
    for key, windows in numbered.group_by(*by, maintain_order=True):
        counts = np.zeros((len(subjects), run.n_classes, run.n_classes))
        np.add.at(counts, tuple(windows.select("number", "label", "prediction").to_numpy().T), 1)
        yield key, windows, counts
