"""``python -m benchmark.data list | check NAME | fetch NAME``: what there is, what is in it, and how to get it."""

import argparse
import inspect
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmark.common.terminal import exit_code
from benchmark.config.schema import DataOptions
from benchmark.data import registry
from benchmark.errors import InputError


def listing() -> str:
    """What each data set is, its licence and citation, and how to get it."""
    blocks = []
    for name in registry.names():
        kind = registry.dataset_class(name)
        what = (inspect.getdoc(sys.modules[kind.__module__]) or "").split("\n\n")[0]
        facts = {
            "what": what,
            "modalities": ", ".join(kind.modalities),
            "licence": kind.licence,
            "cite": kind.citation,
            "get it": kind.how_to_get,
        }
        lines = [
            textwrap.fill(
                " ".join(fact.split()),
                110,
                initial_indent=f"  {key:<12}",
                subsequent_indent=" " * 14,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for key, fact in facts.items()
        ]
        blocks.append("\n".join([name, *lines]))
    return "\n\n".join(blocks)


def check(name: str, words: Sequence[str], root: str | None, seed: int) -> int:
    """Read all of a data set and print what is in it. The exit code: 2 if something cannot be read."""
    from benchmark.data import inspection  # not before the words are understood: it imports torch

    kind = registry.dataset_class(name)
    report = inspection.inspect(_options(name, words, root), seed, progress=True)
    print(inspection.text(report, name))
    print(f"licence: {kind.licence}\ncite: {kind.citation}")
    return 2 if report.errors else 0


def _options(name: str, words: Sequence[str], root: str | None) -> DataOptions:
    """The data set's options, changed by ``key=value`` words, which are read as those of a run."""
    given = OmegaConf.create()
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word.removeprefix("data."))
            if override.is_delete() or override.is_add() or override.is_sweep_override():
                raise HydraException
            OmegaConf.update(given, override.key_or_group, override.value())
        except (HydraException, OmegaConfBaseException):
            wanted = "write key=value, for example seconds=20 or split.kind=kfold"
            raise InputError(f"cannot read {word!r}; {wanted}") from None
    values: Any = OmegaConf.to_container(given)
    return registry.options_of(name, values if root is None else {**values, "root": root})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code, as in ``exit_code``."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="data sets: what they are, licence, citation, how to get them")
    read = commands.add_parser("check", help="read all of a data set and say what is in it")
    read.add_argument("name", help="data set")
    read.add_argument("--root", help="folder of the recordings")
    read.add_argument("--seed", type=int, default=0, help="of the split")
    read.add_argument(
        "words", nargs="*", metavar="key=value", help="options of the data set, such as seconds=20 or split.kind=kfold"
    )
    get = commands.add_parser("fetch", help="download a data set, where its publisher lets a program do that")
    get.add_argument("name", help="data set")
    get.add_argument("--folder", type=Path, help="default: recordings/NAME")
    given, rest = parser.parse_known_args(arguments)
    if given.command == "check" and not any(word.startswith("-") for word in rest):
        given.words += rest  # argparse takes no words behind an option
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return exit_code(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    if given.command == "check":
        return check(given.name, given.words, given.root, given.seed)
    if given.command == "list":
        print(listing())
    else:
        folder = given.folder or Path("recordings") / given.name
        registry.dataset_class(given.name).fetch(folder)
        print(f"{folder}: complete; python -m benchmark.data check {given.name} --root {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
