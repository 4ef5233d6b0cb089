"""``python -m benchmark.features list | verify | prune``: what the feature store holds, whether it is whole, less."""

import argparse
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from benchmark.cache import digest
from benchmark.common.terminal import aligned, exit_code
from benchmark.errors import InputError, RunError
from benchmark.features.claim import STALE, Claim
from benchmark.features.files import Damaged, Description, Features, Outdated, read_batch
from benchmark.features.store import batches_of, partial_of

SHOWN = 12  # digits of an entry's name in tables
DAY = 86_400.0
_ENTRY = re.compile(r"[0-9a-f]{32}\.(arrow|partial)")


@dataclass
class Item:
    """A finished entry, one that is not finished (a folder), or what a dead process left behind."""

    path: Path
    size: int
    """Bytes on disk."""
    used: float
    """When it was last opened or written, seconds since the epoch."""
    description: Description | None = None
    damage: str | None = None
    """Why it cannot be opened."""
    outdated: bool = False
    """Whether another version of the store wrote it."""
    rows: int = 0
    """Windows that are there."""
    live: bool = False
    """Whether a process computes it now."""
    why: list[str] = field(default_factory=list)
    """Why it is removed."""

    @property
    def partial(self) -> bool:
        return self.path.suffix == ".partial"

    @property
    def name(self) -> str:
        """The first digits of an entry; a file that lies within one has its folder's in front."""
        if _ENTRY.fullmatch(self.path.name):
            return self.path.stem[:SHOWN]
        return f"{self.path.parent.stem[:SHOWN]}/{self.path.name}" if self.path.parent.suffix else self.path.name


def items_of(root: Path) -> list[Item]:
    """All entries in a folder, the last used first."""
    found = []
    for path in root.iterdir():
        if _ENTRY.fullmatch(path.name):
            try:
                found.append(_partial(path) if path.suffix == ".partial" else _finished(path))
            except FileNotFoundError:  # finished or removed by another process in this moment
                continue
    return sorted(found, key=lambda item: -item.used)


def leftovers_of(root: Path) -> list[Item]:
    """What processes left that were killed: temporary files, and folders of entries that are finished."""
    found = []
    for path in [*root.glob(".*.tmp"), *root.glob("*.partial/.*.tmp")]:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        alive = Claim(path.parent).taken() if path.parent != root else time.time() - status.st_mtime < STALE
        if not alive:
            found.append(Item(path, status.st_size, status.st_mtime))
    return found


def _finished(path: Path) -> Item:
    status = path.stat()
    item = Item(path, status.st_size, status.st_mtime)
    try:
        entry = Features(path)
        item.description, item.rows = entry.description, entry.description.windows
        if digest(entry.key) != path.stem:
            item.damage = "it holds the features of another key"
    except Damaged as error:
        item.damage, item.outdated = str(error), isinstance(error, Outdated)
    except PermissionError:
        item.damage = "it may not be read"
    return item


def _partial(path: Path) -> Item:
    files = [file for file in path.iterdir() if file.is_file()]
    statuses = [file.stat() for file in files if file.exists()]
    used = max([path.stat().st_mtime, *(status.st_mtime for status in statuses)])
    item = Item(path, sum(status.st_size for status in statuses), used, live=Claim(path).taken())
    reached = 0
    for begin, end, file in batches_of(path):
        item.rows += max(0, end - max(begin, reached))
        reached = max(reached, end)
        if item.description is None:
            try:
                item.description, _ = read_batch(file)
            except (Damaged, OSError):
                continue
    return item


# -- list -------------------------------------------------------------------------------------------------------------


def listing(root: Path, entry: str | None = None) -> str:
    """A table of all entries; of one, its key and its arrays."""
    items = items_of(root)
    if entry is not None:
        chosen = [item for item in items if item.path.name.startswith(entry)]
        if not chosen:
            raise InputError(f"{root} has no entry {entry!r}; give the first digits of one that `list` shows")
        return "\n\n".join(_details(item) for item in chosen)
    if not items:
        return f"{root}: no entries"
    head = ("entry", "data", "encoder", "side", "split", "what", "windows", "arrays", "dtype", "size", "used", "made")
    rows = [(*head, "computed in", "largest error (RMS)", "state"), *map(_row, items)]
    finished = [item for item in items if not item.partial and not item.damage]
    seconds = sum(item.description.seconds for item in finished if item.description)
    lines = [
        *aligned(rows),
        "",
        f"{len(finished)} finished ({_bytes(sum(item.size for item in finished))}, computed in {_seconds(seconds)}), "
        f"{sum(item.partial for item in items)} unfinished, "
        f"{sum(bool(item.damage) for item in items)} damaged or outdated; "
        f"{_bytes(sum(item.size for item in items))} in all",
    ]
    if any(item.description and item.description.deviations for item in items):
        lines.append(
            "largest error: max |x - stored| / max |x| of the worst array (RMS: relative, of the worst array); "
            "`list ENTRY` shows each"
        )
    return "\n".join(lines)


def _row(item: Item) -> tuple[str, ...]:
    about = item.description
    if item.damage:
        state = item.damage if item.outdated else f"damaged: {item.damage}"
    elif not item.partial:
        state = "finished"
    else:
        of = f" of {about.windows} windows ({100 * item.rows // about.windows} %)" if about else " windows"
        state = f"{'being computed' if item.live else 'unfinished'}, {item.rows}{of}"
    if about is None:
        return (item.name, *[""] * 8, _bytes(item.size), _age(item.used), "", "", "", state)
    key, deviations = about.key, about.deviations.values()
    return (
        item.name,
        str(key.get("dataset", "")),
        " ".join(str(key[name]) for name in ("encoder", "preset") if name in key),
        str(key.get("side", "")),
        str(key.get("split", "")),
        str(key.get("what", "")) + (f" of block {key['block']}" if "block" in key else ""),
        str(about.windows),
        str(len(about.shapes)),
        "/".join(sorted(set(about.dtypes.values()))),
        _bytes(item.size),
        _age(item.used),
        _age(about.created),
        "" if item.partial else _seconds(about.seconds),
        f"{max(d.largest for d in deviations):.1e} ({max(d.rms for d in deviations):.1e})" if deviations else "none",
        state,
    )


def _details(item: Item) -> str:
    about = item.description
    lines = [str(item.path)]
    if about is None:
        return "\n".join([*lines, f"  {item.damage or 'no batch is finished'}"])
    state = f"{item.rows} of {about.windows} windows, {_bytes(item.size)}"
    lines += [f"  {state}" + (f"; damaged: {item.damage}" if item.damage else "")]
    lines += [f"  {name} = {value}" for name, value in about.key.items()]
    rows: list[tuple[str, ...]] = [("array", "of a window", "dtype", "largest error", "RMS error")]
    for name, (dtype, shape) in about.layout.items():
        error = about.deviations.get(name)
        shown = (f"{error.largest:.2e}", f"{error.rms:.2e}") if error else ("none", "none")
        rows.append((name, " x ".join(map(str, shape)), dtype, *shown))
    return "\n".join([*lines, *(f"  {line}" for line in aligned(rows))])


# -- verify -----------------------------------------------------------------------------------------------------------


def verify(root: Path) -> int:
    """Read every value of every entry against its checksum. The exit code: 1 if any is damaged."""
    finished, size, batches, outdated = 0, 0, 0, 0
    damaged: list[tuple[Path, str]] = []
    for item in items_of(root):
        if item.partial:
            batches += len(batches_of(item.path))
            damaged += _damaged_batches(item)
        elif item.outdated:
            outdated += 1
        else:
            finished, size = finished + 1, size + item.size
            if damage := _damage(partial(_check, item)):
                damaged.append((item.path, damage))
    if outdated:
        print(
            f"{outdated} written by another version of the store, which nothing reads: `prune --damaged` removes them"
        )
    for path, damage in damaged:
        print(f"{path}: {damage}")
    of = f"{finished} entries ({_bytes(size)})" + (f" and {batches} batches of unfinished ones" if batches else "")
    if damaged:
        print(f"{len(damaged)} of {of} damaged; computed again after `python -m benchmark.features prune --damaged`")
        return 1
    print(f"{of} whole: every value matches its checksum")
    return 0


def _check(item: Item) -> None:
    if item.damage:
        raise Damaged(item.damage)
    Features(item.path).verify()


def _damage(read: Callable[[], object]) -> str | None:
    """Why a file cannot be read, if it cannot."""
    try:
        read()
    except FileNotFoundError:  # another process finished or removed it
        return None
    except Damaged as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _damaged_batches(item: Item) -> Iterator[tuple[Path, str]]:
    for _, _, file in batches_of(item.path):
        if damage := _damage(partial(read_batch, file)):
            yield file, damage


# -- prune ------------------------------------------------------------------------------------------------------------


def prune(root: Path, asked: argparse.Namespace) -> None:
    """Remove what is asked for, and what dead processes left in any case; print each and the bytes freed."""
    items = items_of(root)
    for item in items:
        item.why += _reasons(item, asked)
    if asked.keep_gb is not None:
        kept = 0
        for item in items:  # the last used first
            kept += 0 if item.why else item.size
            if not item.why and kept > asked.keep_gb * 1e9:
                item.why.append(f"more than {asked.keep_gb:g} GB")
    removed = [item for item in items if item.why and not item.live]
    gone = {item.path for item in removed}
    for item in items:
        if asked.damaged and item.partial and not item.live and item.path not in gone:
            for path, damage in _damaged_batches(item):
                status = path.stat()
                removed.append(Item(path, status.st_size, status.st_mtime, why=[f"damaged: {damage}"]))
    for leftover in leftovers_of(root):
        if leftover.path.parent not in gone:
            leftover.why.append("left by a process that died")
            removed.append(leftover)
    for item in removed:
        if not asked.dry_run:
            _remove(item.path)
        print(f"{'would remove' if asked.dry_run else 'removed'} {item.name}: {_bytes(item.size)}, {item.why[0]}")
    for item in items:
        if item.why and item.live:
            print(f"kept {item.name}: a process computes it now")
    freed = _bytes(sum(item.size for item in removed))
    print(f"{len(removed)} {'to remove' if asked.dry_run else 'removed'}, {freed}; {len(items)} entries were there")


def _reasons(item: Item, asked: argparse.Namespace) -> Iterator[str]:
    if item.partial and partial_of(item.path).with_suffix(".arrow").exists() and not item.live:
        yield "the entry is finished"
    if asked.all:
        yield "all"
    if asked.partial and item.partial:
        yield "unfinished"
    if asked.older_than is not None and time.time() - item.used > asked.older_than * DAY:
        yield f"not used for {_age(item.used)}"
    if asked.damaged and not item.partial and (damage := _damage(lambda: _check(item))):
        yield damage if item.outdated else f"damaged: {damage}"


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be removed: {error.strerror}; see to its permissions") from None


# -- the command line -------------------------------------------------------------------------------------------------


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def _age(moment: float) -> str:
    age = max(0.0, time.time() - moment)
    return f"{age / DAY:.0f} d" if age > 2 * DAY else _seconds(round(age))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give a number, 0 or more")
    return value


def _parser() -> argparse.ArgumentParser:
    parser: Any = _Parser(prog="python -m benchmark.features", description=__doc__)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--cache", type=Path, default=Path("results/.cache"), help="default: results/.cache")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list | verify | prune")
    shown = commands.add_parser("list", parents=[where], help="what there is: sizes, age, what it took, its error")
    shown.add_argument("entry", nargs="?", help="first digits of an entry, to see its key and its arrays")
    commands.add_parser("verify", parents=[where], help="read every byte; name what is damaged; then exit with 1")
    less = commands.add_parser(
        "prune",
        parents=[where],
        help="remove entries",
        description="Removes what the options name, and always what killed processes left behind. What a process "
        "computes now stays. A run that has an entry open keeps it, unless another node removes it over a network.",
    )
    less.add_argument("--older-than", type=_amount, metavar="DAYS", help="not used for so many days")
    less.add_argument("--partial", action="store_true", help="not finished")
    less.add_argument("--damaged", action="store_true", help="unreadable, changed or outdated (reads every byte)")
    less.add_argument("--all", action="store_true", help="everything")
    less.add_argument(
        "--keep-gb", type=_amount, metavar="GB", help="the least recently used, until so many 1e9 bytes are left"
    )
    less.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code: 0, 1 for damage that was found, else as in ``exit_code``."""
    return exit_code(lambda: _run(_parser().parse_args(arguments)))


def _run(given: argparse.Namespace) -> int:
    root = given.cache / "features"
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        found = "no such folder" if not root.exists() else "not a folder that can be read"
        raise InputError(f"{root}: {found}; give --cache, the option `cache` of the runs that filled it")
    if given.command == "verify":
        return verify(root)
    if given.command == "list":
        print(listing(root, given.entry))
    else:
        prune(root, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
