"""From a run's folder to its tables, figures and report.

``write``, ``show`` and ``closing`` are all that a run needs; they import what they use when they are called, so that
reading a run's tables never waits for matplotlib. What methods are called, how they stand in tables and what columns
they have is read from the run's folder: nothing here knows a method.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill


def write(folder: Path) -> list[Path]:
    """Write every table to ``<folder>/tables``, every figure to ``<folder>/figures``, and ``<folder>/report.html``.

    Returns:
        the files written; only those for which the run, finished or not, has rows.

    Raises:
        InputError: ``folder`` is not a run's folder, or a file in it is missing or damaged.
    """
    from analysis import figures, report, writers
    from analysis.run import Run
    from analysis.tables import tables

    run = Run(folder)
    made = tables(run)
    paths = [path for table in made for path in writers.save(table, run.path / "tables")]
    paths += figures.save(run, run.path / "figures")
    return [*paths, report.write([run], run.path / report.NAME, [made])]


def show(folder: Path) -> str:
    """The tables as aligned text, at most 120 columns wide, but for long ones, and the verdict on the transfer methods.

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
    shown = [plain(table) for table in tables(run) if not table.long]
    last = f"{run.path}: no final results to tabulate. {setting(run)}" if run.final.is_empty() else verdict(run)
    return "\n".join([*shown, *(fill(line, 120) for line in last.splitlines())]) + "\n"


def closing(folder: Path, written: Sequence[Path], seconds: float) -> str:
    """The last lines of a run: trials that failed or diverged, how long it took (in ``seconds``), what lies where.

    Args:
        written: the files that ``write`` returned.

    Raises:
        InputError: as ``write``.
    """
    from analysis.run import Run
    from analysis.tables import failures

    run = Run(folder)
    unwell = "".join(
        f"{row['trials']} of {len(run.trials)} trials {row['status']}: {row['label']}, {row['stage']}: {row['why']}\n"
        for row in failures.build(run).iter_rows(named=True)
    )
    beside = sum(path.name != "report.html" for path in written)
    return (
        f"{unwell}"
        f"Finished in {seconds / 60:.1f} minutes. Everything lies in {folder}:\n"
        f"  report.html                                       all of it on one page, for any browser\n"
        f"  rows.jsonl, trials.parquet, predictions.parquet   a row per trial, a row per test window\n"
        f"  tables/, figures/                                 {beside} files\n"
        f"  compare the trials:                               .venv/bin/tensorboard --logdir {folder / 'tensorboard'}"
    )
