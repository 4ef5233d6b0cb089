"""``python -m analysis <results folder>`` and ``python -m analysis parameters --paper``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import analysis
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
    try:
        if options.paper:
            print(_paper(options.folder, options.out))
        else:
            paths = analysis.write(Path(options.folder))
            print(analysis.show(Path(options.folder)))
            for path in paths:
                print(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _paper(what: str, folder: Path) -> str:
    if what != "parameters":
        raise InputError(f"--paper was given with {what!r}; the paper's table is 'parameters': parameters --paper")
    from analysis import paper, writers

    table = paper.parameters()
    paths = writers.save(table, folder)
    return "\n".join([writers.plain(table), *map(str, paths)])


if __name__ == "__main__":
    sys.exit(main())
