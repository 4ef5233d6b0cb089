"""What the run was made to find out, and what it found."""

from collections.abc import Sequence

from analysis import captions, pairs
from analysis.report.parts import Part, Text
from analysis.run import Run
from analysis.verdict import verdict

NAME, TITLE, PLACE = "question", "Question and verdict", 0


def build(run: Run) -> Sequence[Part]:
    """The question; the verdict's first two sentences large, the rest and what the split leaks below them."""
    reference = pairs.reference(run)
    worth = f" And is {run.labels[reference]} worth what it trains?" if reference else ""
    question = (
        "Which way of teaching a model of the new signal, by a teacher that listens to the old one and without a "
        f"label, predicts best for people whom nothing has seen ({captions.data(run)})?{worth}"
    )
    first, *rest = answer(run)
    leak = captions.leakage(run)
    return [Text([question]), Text([first], lead=True), Text([*rest, *([f"{leak}."] if leak else [])])]


def answer(run: Run) -> list[str]:
    """The verdict in two sentences, then what else there is to it; or that there is none yet."""
    if run.final.is_empty():
        return [f"No final results yet: of {run.trials.height} trials with a row, none is a final one that is done."]
    lines = verdict(run).splitlines() or ["The final trials have no predictions on test."]
    return [part for part in (" ".join(lines[:2]), " ".join(lines[2:])) if part]
