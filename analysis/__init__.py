"""From a run's folder to its tables and figures.

``write`` and ``show`` are all that a sweep needs; they import what they use when they are called, so that reading
a run's tables never waits for matplotlib.
"""

from pathlib import Path
from textwrap import fill


def write(folder: Path) -> list[Path]:
    """Write every table to ``<folder>/tables`` and every figure to ``<folder>/figures``.

    Returns:
        the files written; only those for which the run, finished or not, has rows.

    Raises:
        InputError: ``folder`` is not a run's folder, or a file in it is missing or damaged.
    """
    from analysis import figures, writers
    from analysis.run import Run
    from analysis.tables import tables

    run = Run(folder)
    paths = [path for table in tables(run) for path in writers.save(table, run.path / "tables")]
    return paths + figures.save(run, run.path / "figures")


def show(folder: Path) -> str:
    """The tables as aligned text, at most 120 columns wide, and a sentence per transfer method.

    Where there are no final results yet, a line that says so.

    Raises:
        InputError: as ``write``.
    """
    from analysis.captions import setting
    from analysis.run import Run
    from analysis.tables import tables
    from analysis.verdict import verdict
    from analysis.writers import plain

    run = Run(folder)
    shown = [plain(table) for table in tables(run)]
    shown += ["\n".join(fill(line, 120) for line in verdict(run).splitlines()) + "\n"] if shown else []
    return "\n".join(shown) if shown else f"{run.path}: no final results to tabulate yet. {setting(run)}\n"
