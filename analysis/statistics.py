"""Summaries over repetitions, and intervals over subjects."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.run import Run

DRAWS = 10_000
SEED = 0

METRICS = (
    "test_balanced_accuracy",
    "test_macro_f1",
    "test_weighted_f1",
    "test_accuracy",
    "test_kappa",
    "test_agreement",
)


def summarise(run: Run, metrics: Sequence[str] = METRICS) -> pl.DataFrame:
    """One row per method with final trials that are done: mean and sample standard deviation of each metric.

    Repetitions are seeds; where there are folds, seeds are averaged within each fold first and the folds are
    the repetitions, since seeds of one fold share their subjects. The deviation of a single repetition is null.

    Returns:
        method, then each metric without its ``test_`` and with ``_sd`` for its deviation.
    """
    # Rows are grouped in their own order: sums in another order differ in their last digit from one run to the next.
    repetition = "fold" if run.folds else "seed"
    names = [metric.removeprefix("test_") for metric in metrics]
    return (
        run.final.group_by("method", repetition, maintain_order=True)
        .agg(pl.col(metric).mean().alias(name) for metric, name in zip(metrics, names, strict=True))
        .group_by("method", maintain_order=True)
        .agg(
            expression
            for name in names
            for expression in (pl.col(name).mean(), pl.col(name).std(ddof=1).alias(f"{name}_sd"))
        )
    )


def bootstrap_balanced_accuracy(
    run: Run, draws: int = DRAWS, seed: int = SEED, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """A percentile interval of each method's balanced accuracy over subjects drawn with replacement.

    A drawn subject brings all its windows, of all folds. Balanced accuracy is the mean recall over the classes
    that a draw contains; it is computed for each seed and averaged over seeds within the draw. Every method sees
    the same draws of the same subjects.

    Returns:
        method -> (low, high) in [0, 1]. A method predicted for fewer than two subjects has none: the spread
        between subjects cannot be seen on one.
    """
    predictions = run.final_predictions.drop_nulls(["subject", "label", "prediction"])
    classes = run.n_classes
    if predictions.is_empty() or classes is None:
        return {}
    subjects = predictions["subject"].unique().sort()
    n = len(subjects)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)  # (draws, n)
    position = pl.DataFrame({"subject": subjects, "row": np.arange(n)})
    intervals = {}
    for (method,), of_method in predictions.group_by("method", maintain_order=True):
        if of_method["subject"].n_unique() < 2:
            continue
        per_seed = []
        for _, of_seed in of_method.join(position, on="subject", maintain_order="left").group_by(
            "seed", maintain_order=True
        ):
            at = (of_seed["row"].to_numpy(), of_seed["label"].to_numpy())
            windows, hits = np.zeros((n, classes)), np.zeros((n, classes))
            np.add.at(windows, at, 1)
            np.add.at(hits, at, (of_seed["label"] == of_seed["prediction"]).to_numpy())
            drawn_windows, drawn_hits = weights @ windows, weights @ hits  # (draws, classes)
            recall = np.divide(drawn_hits, drawn_windows, out=np.full_like(drawn_hits, np.nan), where=drawn_windows > 0)
            per_seed.append(_mean(recall))
        values = _mean(np.stack(per_seed, axis=1))
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        intervals[str(method)] = (float(low), float(high))
    return intervals


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
