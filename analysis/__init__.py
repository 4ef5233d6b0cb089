"""From a run's folder to its tables and figures.

``write``, ``show`` and ``closing`` are all that a run needs; they import what they use when they are called, so that
reading a run's tables never waits for matplotlib. What methods are called, how they stand in tables and what columns
they have is read from the run's folder: nothing here knows a method.
"""

from collections.abc import Sequence
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


def closing(folder: Path, written: Sequence[Path], seconds: float) -> str:
    """The last lines of a run: how many trials failed, how long it took (in ``seconds``), and what lies where.

    Args:
        written: the files that ``write`` returned.

    Raises:
        InputError: ``trials.parquet`` is missing or damaged.
    """
    import polars as pl

    from benchmark.results.folder import TRIALS
    from benchmark.results.schema import read_parquet

    status = read_parquet(folder / TRIALS, {"status": pl.String})["status"]
    failed = (status == "failed").sum()
    warning = f"{failed} of {len(status)} trials failed: column error of {TRIALS} says why.\n"
    return (
        f"{warning if failed else ''}"
        f"Finished in {seconds / 60:.1f} minutes. Everything lies in {folder}:\n"
        f"  rows.jsonl, trials.parquet, predictions.parquet   a row per trial, a row per test window\n"
        f"  tables/, figures/                                 {len(written)} files\n"
        f"  compare the trials:                               .venv/bin/tensorboard --logdir {folder / 'tensorboard'}"
    )
