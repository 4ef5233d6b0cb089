"""``python -m analysis <results folder>``: a run's tables and figures; ``--help`` lists what else there is."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import analysis
from analysis.writers import Table, plain, save
from benchmark.common.files import write_text
from benchmark.common.terminal import exit_code
from benchmark.errors import InputError
from benchmark.results.folder import PLAN

USES = """\
python -m analysis results/a                    tables, figures and report of a run, finished or not
python -m analysis report results/a [...]       the report of one or more runs alone, on one page
python -m analysis summary results/a [...]      all runs in one table: gains, ranks, critical differences; where
                                                the reference stands in each; verdicts
python -m analysis compare results/a results/b  what changed between two runs, and which methods differ
python -m analysis export results/a             the run without its caches, as results/a.tar.gz
python -m analysis excerpt results/a            its chart, accuracy and verdict, between two lines of README.md
python -m analysis columns                      docs/columns.md: what the columns of a run's files mean
python -m analysis parameters --paper           parameters of the paper's six directions; needs no run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 with one line on standard error for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        usage="%(prog)s [-h] [--paper] [--out OUT] [what] folder ...",
        description="What runs found, finished or not: printed, and written to files.",
        epilog=USES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="+", metavar="folder", help="results/<name>, or what is wanted of which folders")
    parser.add_argument("--paper", action="store_true", help="of parameters, which is of nothing else")
    parser.add_argument(
        "--out",
        type=Path,
        help="the file of a report, an export, an excerpt or the columns, else a folder; default: the run's folder or, "
        "of several runs, where the first one lies; of parameters, results/paper",
    )
    options = parser.parse_args(arguments)
    return exit_code(lambda: print(_answer(options)))


def _answer(options: argparse.Namespace) -> str:
    first, *rest = options.words
    if options.paper:
        return _paper(" ".join(options.words), options.out or Path("results/paper"))
    if first in COMMANDS:
        fewest, most, command = COMMANDS[first]
        if not fewest <= len(rest) <= most:
            accepted = f"{fewest or 'none'}" if fewest == most else f"{fewest} or more"
            folders = (" results/<name>", " results/<other>")[:fewest]
            raise InputError(
                f"{first} was given {len(rest) or 'no'} folder{'' if len(rest) == 1 else 's'}; give {accepted}: "
                f"{first}{''.join(folders)}"
            )
        return command([Path(word) for word in rest], options.out)
    if rest:
        raise InputError(
            f"{len(rest) + 1} folders were given; give one, or what is wanted of them: report {' '.join(options.words)}"
        )
    paths = analysis.write(Path(first))
    return "\n".join([analysis.show(Path(first)), *map(str, paths)])


def _report(folders: Sequence[Path], out: Path | None) -> str:
    from analysis import report
    from analysis.run import Run

    runs = [Run(folder) for folder in folders]
    beside = folders[0] if len(folders) == 1 else folders[0].parent
    return str(report.write(runs, out or beside / report.NAME))


def _summary(folders: Sequence[Path], out: Path | None) -> str:
    from analysis.across import standing, summary
    from analysis.across.ranks import Ranking
    from analysis.run import Run

    # results/* has more than runs: files of an earlier summary, packs, the paper's parameters.
    others = [path for path in folders if path.is_file() or (path.is_dir() and not (path / PLAN).exists())]
    runs = [Run(path) for path in folders if path not in others or len(others) == len(folders)]
    where = out or folders[0].parent
    table = summary.table(runs)
    _, found = summary.ranked(runs, table.frame)
    beside = [write_text(where / "verdicts.md", summary.verdicts(runs))]
    if isinstance(found, Ranking):
        from analysis.across import diagram
        from analysis.figures import written

        labels = dict(table.frame.select("method", "label").iter_rows())
        beside += written(diagram.draw(found, labels), where / diagram.NAME)
    return "\n".join([_saved([table, *standing.tables(runs)], where), *map(str, beside)])


def _compare(folders: Sequence[Path], out: Path | None) -> str:
    from analysis.across import compare
    from analysis.run import Run

    first, second = (Run(folder) for folder in folders)
    return _saved(compare.tables(first, second), out or folders[0].parent)


def _export(folders: Sequence[Path], out: Path | None) -> str:
    from analysis.export import pack

    return str(pack(folders[0], out))


def _excerpt(folders: Sequence[Path], out: Path | None) -> str:
    from analysis import excerpt
    from analysis.run import Run

    return "\n".join(map(str, excerpt.put(Run(folders[0]), out or Path("README.md"))))


def _columns(folders: Sequence[Path], out: Path | None) -> str:
    from analysis import columns

    return str(write_text(out or Path("docs/columns.md"), columns.page()))


def _paper(what: str, folder: Path) -> str:
    if what != "parameters":
        raise InputError(f"--paper was given with {what!r}; the paper's table is 'parameters': parameters --paper")
    from analysis import paper

    return _saved([paper.parameters()], folder)


def _saved(tables: Sequence[Table], folder: Path) -> str:
    """The tables as text, and where they were written."""
    paths = [path for table in tables for path in save(table, folder)]
    return "\n".join([*map(plain, tables), *map(str, paths)])


COMMANDS: Mapping[str, tuple[int, float, Callable[[Sequence[Path], Path | None], str]]] = {
    "report": (1, float("inf"), _report),
    "summary": (1, float("inf"), _summary),
    "compare": (2, 2, _compare),
    "export": (1, 1, _export),
    "excerpt": (1, 1, _excerpt),
    "columns": (0, 0, _columns),
}
"""By name: of how many folders at least and at most, and what gives the answer."""


if __name__ == "__main__":
    sys.exit(main())
