"""A run packed for others: what it found and what shows it, without its caches, described by ``croissant``."""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from analysis import croissant
from analysis.run import Run
from benchmark.common.files import atomic_write
from benchmark.errors import InputError

KEPT = ("config.yaml", "plan.json", "rows.jsonl", "*.parquet", "report.html", "tables/*.*", "figures/*.*")
"""Not TensorBoard's files, which name the machine, nor where Ray works: rows have what is in them."""


def pack(folder: Path, out: Path | None = None) -> Path:
    """Write ``<folder>.tar.gz``, or ``out``: the same bytes for the same files, whenever and by whom it is packed.

    Raises:
        InputError: it is there already, or ``folder`` is no run's.
    """
    run = Run(folder)
    path = out or run.path.resolve().with_name(f"{run.name}.tar.gz")
    if path.exists():
        raise InputError(f"{path} is there already; remove it, or give another file with --out")
    found = kept(run.path)
    about = json.dumps(croissant.described(run, found), indent=1).encode()
    files = {path.relative_to(run.path).as_posix(): path.read_bytes() for path in found} | {croissant.NAME: about}
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{run.name}/{name}")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return path


def kept(folder: Path) -> Sequence[Path]:
    """The files of a run's folder that are packed, by name."""
    found = {path for pattern in KEPT for path in folder.glob(pattern) if path.is_file() and path.name[0] != "."}
    return sorted(path for path in found if path.suffix in croissant.ENCODINGS)
