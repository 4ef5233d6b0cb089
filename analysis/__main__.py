"""``python -m analysis <results folder>``, ``... report <results folders>``, ``... summary <results folders>`` and
``... parameters --paper``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import analysis
from benchmark.common.terminal import exit_code
from benchmark.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 with one line on standard error for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis",
        description="Tables, figures and report of a run, finished or not: printed, and written into its folder.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="folder",
        help="a run's folder, results/<name>; 'report' and the folders of one or more runs for their report alone; "
        "'summary' and those of several for one table of all; or 'parameters' with --paper",
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="count the parameters of the paper's six directions on the original models; needs no run",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="the folder that --paper (default: results/paper) or a summary (default: where the first run lies) is "
        "written to, or the file of a report (default: "
        "report.html in the run's folder, of several runs beside the first one's)",
    )
    options = parser.parse_args(arguments)
    return exit_code(lambda: print(_answer(options)))


def _answer(options: argparse.Namespace) -> str:
    first, *rest = options.words
    if options.paper:
        return _paper(" ".join(options.words), options.out or Path("results/paper"))
    if first == "report":
        return _report([Path(word) for word in rest], options.out)
    if first == "summary":
        return _summary([Path(word) for word in rest], options.out)
    if rest:
        raise InputError(f"{len(rest) + 1} folders were given; give one, or report {' '.join(options.words)}")
    return _run(Path(first))


def _run(folder: Path) -> str:
    paths = analysis.write(folder)
    return "\n".join([analysis.show(folder), *map(str, paths)])


def _report(folders: Sequence[Path], out: Path | None) -> str:
    if not folders:
        raise InputError("report was given no folder; give those of one or more runs: report results/<name>")
    from analysis import report
    from analysis.run import Run

    runs = [Run(folder) for folder in folders]
    beside = folders[0] if len(folders) == 1 else folders[0].parent
    return str(report.write(runs, out or beside / report.NAME))


def _summary(folders: Sequence[Path], out: Path | None) -> str:
    if not folders:
        raise InputError("summary was given no folder; give those of several runs: summary results/a results/b")
    from analysis import summary, writers
    from analysis.run import Run

    table = summary.table([Run(folder) for folder in folders])
    paths = writers.save(table, out or folders[0].parent)
    return "\n".join([writers.plain(table), *map(str, paths)])


def _paper(what: str, folder: Path) -> str:
    if what != "parameters":
        raise InputError(f"--paper was given with {what!r}; the paper's table is 'parameters': parameters --paper")
    from analysis import paper, writers

    table = paper.parameters()
    paths = writers.save(table, folder)
    return "\n".join([writers.plain(table), *map(str, paths)])


if __name__ == "__main__":
    sys.exit(main())
