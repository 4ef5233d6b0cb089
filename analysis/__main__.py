"""``python -m analysis <results folder>`` and ``python -m analysis parameters --paper``."""

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
        description="Tables and figures of a run, finished or not: printed, and written into its folder.",
    )
    parser.add_argument("folder", help="a run's folder, results/<name>; or 'parameters' with --paper")
    parser.add_argument(
        "--paper",
        action="store_true",
        help="count the parameters of the paper's six directions on the original models; needs no run",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results/paper"), help="where --paper writes (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    return exit_code(
        lambda: print(_paper(options.folder, options.out) if options.paper else _run(Path(options.folder)))
    )


def _run(folder: Path) -> str:
    paths = analysis.write(folder)
    return "\n".join([analysis.show(folder), *map(str, paths)])


def _paper(what: str, folder: Path) -> str:
    if what != "parameters":
        raise InputError(f"--paper was given with {what!r}; the paper's table is 'parameters': parameters --paper")
    from analysis import paper, writers

    table = paper.parameters()
    paths = writers.save(table, folder)
    return "\n".join([writers.plain(table), *map(str, paths)])


if __name__ == "__main__":
    sys.exit(main())
