"""One estimator and its interval: what is measured on a seed's pooled test predictions, and its spread by subject."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from analysis.run import Run
from benchmark.common.scores import scores

DRAWS = 10_000
SEED = 0

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
        for method, windows, counts in _by_seed(run)
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
    drawn: dict[str, list[np.ndarray]] = {}
    subjects: dict[str, set[str]] = {}
    seeds = list(_by_seed(run))
    n = len(seeds[0][2]) if seeds else 1
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    for method, windows, counts in seeds:
        of_draws = np.tensordot(weights, counts, axes=1)  # (draws, true class, predicted class)
        drawn.setdefault(method, []).append(scores(of_draws)["balanced_accuracy"])
        subjects.setdefault(method, set()).update(windows["subject"])
    intervals = {}
    for method, of_seeds in drawn.items():
        if len(subjects[method]) > 1:
            values = np.ma.masked_invalid(of_seeds).mean(axis=0).compressed()
            low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            intervals[method] = (float(low), float(high))
    return intervals


def _by_seed(run: Run) -> Iterator[tuple[str, pl.DataFrame, np.ndarray]]:
    """Method, test predictions of one of its seeds, and their counts (subjects of the run, true, predicted class).

    Sorted: sums in another order differ in their last digit from one run to the next.
    """
    predictions = run.final_predictions.drop_nulls(["subject", "label", "prediction"]).sort("method", "seed")
    subjects, number = np.unique(predictions["subject"].to_list(), return_inverse=True)
    numbered = predictions.with_columns(number=pl.Series(number, dtype=pl.Int64))
    for (method, _), windows in numbered.group_by("method", "seed", maintain_order=True):
        counts = np.zeros((len(subjects), run.n_classes, run.n_classes))
        np.add.at(counts, tuple(windows.select("number", "label", "prediction").to_numpy().T), 1)
        yield str(method), windows, counts
