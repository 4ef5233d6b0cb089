"""``python -m benchmark.frozen list | verify | prune``: what the cache holds, whether it is whole, less."""

import argparse
import contextlib
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmark.common.keys import digest
from benchmark.common.store import Damaged, Entry, Outdated
from benchmark.common.terminal import aligned, exit_code
from benchmark.errors import InputError, RunError

FOLDERS = ("data", "weights", "teachers", "features")
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
_KEYS = ("dataset", "subject", "modality", "encoder", "preset", "what", "block")
_FOUND = ("rows", "arrays", "dtype", "made", "computed in", "largest error (RMS)")
_LEGEND = "largest error: max |x - stored| / max |x| of the worst array; `list ENTRY` shows each"


@dataclass
class Item:
    """A file: its bytes, when it was last used (seconds since the epoch), why it cannot be read, why it is removed."""

    path: Path
    size: int
    used: float
    entry: Entry | None = None
    damage: Damaged | None = None
    why: str = ""

    @property
    def name(self) -> str:
        return self.path.stem[:12] if self.path.suffix == ".arrow" else self.path.name


def _files(cache: Path, pattern: str) -> Iterator[Path]:
    return (path for folder in FOLDERS for path in (cache / folder).glob(pattern))


def items_of(cache: Path, check: bool = False) -> list[Item]:
    """All entries of a cache, the last used first; with ``check`` every byte of them is read."""
    found = []
    for path in _files(cache, "*.arrow"):
        with contextlib.suppress(FileNotFoundError):  # removed by another process in this moment
            status = path.stat()
            item = Item(path, status.st_size, status.st_mtime)
            try:
                item.entry = Entry(path)
                if digest(item.entry.key) != path.stem:
                    raise Damaged("it holds what belongs to another key")
                if check:
                    item.entry.verify()
            except Damaged as error:
                item.damage = error
            except PermissionError:
                item.damage = Damaged("it may not be read")
            found.append(item)
    return sorted(found, key=lambda item: -item.used)


def leftovers_of(cache: Path) -> Iterator[Item]:
    """Temporary files that are older than an hour and whose process is dead."""
    for path in _files(cache, ".*.arrow.*.tmp"):
        try:
            status = path.stat()
            os.kill(int(path.name.split(".")[-3]), 0)
        except ProcessLookupError:
            if time.time() - status.st_mtime > HOUR:
                yield Item(path, status.st_size, status.st_mtime, why="left by a process that died")
        except (OSError, ValueError):  # it is gone; another user's process lives; another kind of name
            continue


def listing(cache: Path, asked: str | None = None) -> str:
    """A table of all entries; of one, its key and its arrays."""
    items = items_of(cache)
    if asked is not None:
        chosen = [item for item in items if item.path.name.startswith(asked)]
        if not chosen:
            raise InputError(f"{cache} has no entry {asked!r}; give the first digits of one that `list` shows")
        return "\n\n".join(map(_details, chosen))
    if not items:
        return f"{cache}: no entries"
    rows: list[tuple[str, ...]] = [("entry", *_KEYS, *_FOUND, "size", "used", "state")]
    rows += map(_row, items)
    whole = [item.entry.seconds for item in items if item.entry and not item.damage]
    said = f"{len(whole)} whole, computed in {_time(sum(whole))}, {len(items) - len(whole)} damaged or outdated"
    return "\n".join([*aligned(rows), "", f"{said}; {_bytes(items)} in all", _LEGEND])


def _row(item: Item) -> tuple[str, ...]:
    entry, about = item.entry, [""] * (len(_KEYS) + len(_FOUND))
    if entry is not None:
        dtypes, errors = sorted({dtype for dtype, _ in entry.layout.values()}), entry.deviations.values()
        worst = f"{max(e.largest for e in errors):.1e} ({max(e.rms for e in errors):.1e})" if errors else "none"
        found = entry.rows, len(entry), "/".join(dtypes), _age(entry.created), _time(entry.seconds), worst
        about = [str(entry.key.get(name, "")) for name in _KEYS] + [str(value) for value in found]
    return (item.name, *about, _bytes([item]), _age(item.used), str(item.damage or "whole"))


def _details(item: Item) -> str:
    lines, rows = [str(item.path), f"  {item.damage or 'whole'}, {_bytes([item])}"], []
    if item.entry is not None:
        lines += [f"  {name} = {value}" for name, value in {"rows": item.entry.rows, **item.entry.key}.items()]
        rows.append(("array", "of a window", "dtype", "largest error", "RMS error"))
        for name, (dtype, shape) in item.entry.layout.items():
            error = item.entry.deviations.get(name)
            shown = (f"{error.largest:.2e}", f"{error.rms:.2e}") if error else ("none", "none")
            rows.append((name, " x ".join(map(str, shape)), dtype, *shown))
    return "\n".join([*lines, *(f"  {line}" for line in (aligned(rows) if rows else ()))])


def verify(cache: Path) -> int:
    """Hold every byte of every entry against its checksum. The exit code: 1 if any is damaged."""
    items = items_of(cache, check=True)
    current = [item for item in items if not isinstance(item.damage, Outdated)]
    damaged = [item for item in current if item.damage]
    if old := len(items) - len(current):
        print(f"{old} written by another version of the store, which nothing reads: `prune --damaged` removes them")
    for item in damaged:
        print(f"{item.path}: {item.damage}")
    end = "damaged; a run that needs them computes them again" if damaged else "whole: every byte matches its checksum"
    print(f"{f'{len(damaged)} of ' if damaged else ''}{len(current)} entries ({_bytes(current)}) {end}")
    return 1 if damaged else 0


def prune(cache: Path, asked: argparse.Namespace) -> int:
    """Remove what is asked for, and what dead processes left in any case; print each and the bytes freed."""
    items, kept = items_of(cache, check=asked.damaged), 0
    for item in items:  # the last used first
        if asked.all:
            item.why = "all"
        elif asked.older_than is not None and time.time() - item.used > asked.older_than * DAY:
            item.why = f"not used for {_age(item.used)}"
        elif asked.damaged and item.damage:
            item.why = str(item.damage)
        elif asked.keep_gb is not None:
            kept += item.size
            item.why = f"more than {asked.keep_gb:g} GB" if kept > asked.keep_gb * 1e9 else ""
    removed = [*(item for item in items if item.why), *leftovers_of(cache)]
    for item in removed:
        try:
            if not asked.dry_run:
                item.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{item.path} cannot be removed: {error.strerror}; see to its permissions") from None
        print(f"{'would remove' if asked.dry_run else 'removed'} {item.name}: {_bytes([item])}, {item.why}")
    print(f"{len(removed)} {'to remove' if asked.dry_run else 'removed'}, {_bytes(removed)}; there were {len(items)}")
    return 0


def _bytes(items: Iterable[Item]) -> str:
    size = sum(item.size for item in items)
    power = min(int(math.log10(max(size, 1)) // 3), 4)
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _time(seconds: float) -> str:
    unit, name = (1.0, "s") if seconds < MINUTE else (MINUTE, "min") if seconds < HOUR else (HOUR, "h")
    return f"{seconds / unit:.3g} {name}"


def _age(moment: float) -> str:
    age = max(0.0, time.time() - moment)
    return f"{age / DAY:.0f} d" if age > 2 * DAY else _time(round(age))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _amount(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} cannot be used; give a number, 0 or more")


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser: Any = _Parser(prog="python -m benchmark.frozen", description=__doc__)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--cache", type=Path, default=Path("results/.cache"), help="default: results/.cache")
    commands = parser.add_subparsers(dest="command", required=True, metavar="list | verify | prune")
    shown = commands.add_parser("list", parents=[where], help="what there is: sizes, age, what it took, its error")
    shown.add_argument("entry", nargs="?", help="first digits of an entry, to see its key and its arrays")
    commands.add_parser("verify", parents=[where], help="read every byte; name what is damaged; then exit with 1")
    less = commands.add_parser("prune", parents=[where], help="remove entries, and what killed processes left behind")
    less.add_argument("--older-than", type=_amount, metavar="DAYS", help="not used for so many days")
    less.add_argument("--damaged", action="store_true", help="unreadable, changed or outdated (reads every byte)")
    less.add_argument("--all", action="store_true", help="everything")
    less.add_argument("--keep-gb", type=_amount, metavar="GB", help="the least recently used, until so much is left")
    less.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return parser.parse_args(arguments)


def _run(asked: argparse.Namespace) -> int:
    cache = asked.cache
    if not cache.is_dir() or not os.access(cache, os.R_OK | os.X_OK):
        found = "no such folder" if not cache.exists() else "not a folder that can be read"
        raise InputError(f"{cache}: {found}; give --cache, the option `cache` of the runs that filled it")
    if asked.command == "list":
        print(listing(cache, asked.entry))
        return 0
    return verify(cache) if asked.command == "verify" else prune(cache, asked)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code: 0, 1 for damage that was found, else as in ``exit_code``."""
    return exit_code(lambda: _run(_asked(arguments)))


if __name__ == "__main__":
    sys.exit(main())
