"""The run in a sentence per transfer method: how far above chance, and where that leaves it among the references."""

from analysis.run import CHANCE, Run
from analysis.tables import accuracy

BOUNDS = ("balanced_accuracy_low", "balanced_accuracy_high")


def verdict(run: Run) -> str:
    """A line for each transfer method with final trials; empty without any."""
    frame = accuracy.build(run)
    if frame.is_empty():
        return ""
    rows = {row["method"]: row for row in frame.iter_rows(named=True) if row["balanced_accuracy"] is not None}
    chance = 100 * rows[CHANCE.name]["balanced_accuracy"]
    ceilings = ", ".join(
        f"{run.labels[name].lower()} {100 * rows[name]['balanced_accuracy']:.1f} %"
        for name in run.of_kind("ceiling")
        if name in rows
    )
    lines = []
    for name in run.of_kind("transfer"):
        if name not in rows:
            continue
        row = rows[name]
        value = 100 * row["balanced_accuracy"]
        low, high = (None if row[name] is None else 100 * row[name] for name in BOUNDS)
        words = f"{row['label']}: {value:.1f} % balanced accuracy, {abs(value - chance):.1f} points "
        words += "above chance" if value >= chance else "below chance"
        if low is not None and high is not None:
            excluded = "excludes" if low > chance or high < chance else "includes"
            words += f"; the 95 % interval over subjects, {low:.1f} to {high:.1f} %, {excluded} chance ({chance:.1f} %)"
        lines.append(f"{words}.")
    return "\n".join([*lines, *([f"References: {ceilings}."] if ceilings and lines else [])])
