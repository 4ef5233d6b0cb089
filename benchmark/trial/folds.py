"""A trial's row, put together from the inner folds that it was trained on.

Column ``folds`` keeps a list with an object for each of them: ``fold``, ``status``, and ``curve``, a point for every
epoch (``NAMES``) on the held-out windows; what a row says of val is the mean over folds at its best epoch.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Point = tuple[float, float, float, float | None]

NAMES = ("val_agreement", "val_balanced_agreement", "val_divergence", "val_balanced_accuracy")
"""What a point of a curve holds."""
VAL = ("best_epoch", *NAMES, "score_standard_error")
"""What a row says of val; nothing of a trial that diverged."""
WORST = ("done", "pruned", "diverged", "failed")
DIGITS = 6


def score_of(found: Row) -> float:
    """What the protocol chooses by: balanced accuracy on val where labels may be read, else balanced agreement."""
    accuracy = found.get("val_balanced_accuracy")
    return float(found["val_balanced_agreement"] if accuracy is None else accuracy)


def order(found: Row) -> tuple[float, float]:
    """Larger is better: what the protocol chooses by, then closeness to the teacher. ``found`` is not empty."""
    return score_of(found), -found["val_divergence"]


def as_point(found: Row) -> Point:
    """What was found on val after an epoch, as a curve keeps it."""
    values = [found.get(name) for name in NAMES]
    return tuple(value if value is None else round(value, DIGITS) for value in values)  # type: ignore[return-value]


def one_fold(fold: int, status: str, curve: Sequence[Point] = ()) -> str:
    """Column ``folds`` of a trial that was trained on one."""
    return json.dumps([{"fold": fold, "status": status, "curve": curve}])


def folds_of(row: Row) -> dict[int, dict[str, Any]]:
    """The folds of a row by number; none in a row without them."""
    return {found["fold"]: found for found in json.loads(row.get("folds") or "[]")}


def summary(curves: Sequence[Sequence[Point]], first: int) -> dict[str, Any]:
    """What folds found at the epoch at which their mean is best; ``first`` is the number of the first epoch.

    The standard error is that of a mean over folds (Breiman et al., 1984), None for a single one.
    """
    epochs = min(map(len, curves))
    found = []
    for epoch in range(epochs):
        columns = zip(*(curve[epoch] for curve in curves), strict=True)
        means = [None if None in column else math.fsum(column) / len(column) for column in columns]
        found.append(dict(zip(NAMES, means, strict=True)))
    best = max(range(epochs), key=lambda epoch: (*order(found[epoch]), -epoch))
    scores = [score_of(dict(zip(NAMES, curve[best], strict=True))) for curve in curves]
    error = statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
    return {"best_epoch": best + first, **found[best], "score_standard_error": error}


def merged(earlier: Row | None, row: Row) -> dict[str, Any]:
    """The row of a trial with what another training of it found; of a fold that was trained again, the later one."""
    before, now = (folds_of(earlier) if earlier else {}), folds_of(row)
    if earlier is None or not before or before.keys() <= now.keys():
        return dict(row)
    folds = dict(sorted({**before, **now}.items()))
    status = max((fold["status"] for fold in folds.values()), key=WORST.index)
    found = {**earlier, **{name: value for name, value in row.items() if value is not None}}
    found |= _costs(earlier, row, len(before), len(now))
    found |= {"status": status, "folds": json.dumps([*folds.values()]), "inner_folds": len(folds)}
    found |= dict.fromkeys(VAL)
    if status in ("done", "pruned"):
        found |= summary([fold["curve"] for fold in folds.values()], min(1, found["epochs"]))
        found["error"] = None
    return found


def _costs(earlier: Row, row: Row, before: int, now: int) -> dict[str, Any]:
    """Seconds and windows of all folds; of a step the mean, of memory and of each array that was read the most."""
    found: dict[str, Any] = {}
    for name in ("train_seconds", "training_windows"):
        found[name] = (earlier.get(name) or 0) + (row.get(name) or 0)
    steps = [(one["step_seconds"], n) for one, n in ((earlier, before), (row, now)) if one.get("step_seconds")]
    if steps:
        found["step_seconds"] = sum(seconds * n for seconds, n in steps) / sum(n for _, n in steps)
    found["peak_memory_bytes"] = max(earlier.get("peak_memory_bytes") or 0, row.get("peak_memory_bytes") or 0) or None
    read, again = (json.loads(one.get("extraction") or "{}") for one in (earlier, row))
    extraction = {name: max(read.get(name, 0.0), again.get(name, 0.0)) for name in {**read, **again}}
    found |= {"extraction": json.dumps(extraction), "extraction_seconds": sum(extraction.values())}
    found["started_at"] = earlier.get("started_at") or row.get("started_at")
    return found


def only(row: Row, fold: int) -> dict[str, Any]:
    """A trial's row as it was when it had been trained on one of its folds alone."""
    found = folds_of(row)[fold]
    kept = {**row, "status": found["status"], "folds": json.dumps([found]), "inner_folds": 1, **dict.fromkeys(VAL)}
    if found["status"] in ("done", "pruned"):
        kept |= summary([found["curve"]], min(1, row["epochs"]))
    return kept
