"""``python -m benchmark.perf``: what ``make perf`` runs. Each measurement has a process of its own."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmark.common.machine import check_device
from benchmark.common.progress import Bar, say
from benchmark.perf import extraction, report, search
from benchmark.perf.directions import DEVICE, DIRECTIONS, device

PARTS: dict[str, tuple[str, ...]] = {
    "steps": DIRECTIONS,
    "extraction": extraction.DIRECTIONS,
    "search": (search.DIRECTION,),
    "inference": DIRECTIONS,
}
BUDGET = {"steps": 75.0, "extraction": 150.0, "search": 300.0, "inference": 15.0}
"""Seconds that the rounds of one direction may take: what is decided early ends early, and a few rounds there are
always."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="default: all parts")
    parser.add_argument(
        "--directions", nargs="+", choices=DIRECTIONS, default=list(DIRECTIONS), help="default: all six"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/performance"), help="default: %(default)s")
    parser.add_argument("--cache", type=Path, help="for simulated data and features; default: a temporary folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device(), help="default: %(default)s")
    parser.add_argument("--budget", type=float, default=1.0, help="scales the time of every measurement")
    parser.add_argument("--child", nargs=3, metavar=("PART", "DIRECTION", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    os.environ[DEVICE] = given.device  # of the processes that measure, too
    check_device(given.device)
    if given.child:
        part, direction, file = given.child
        torch.manual_seed(0)
        measured = import_module(f"benchmark.perf.{part}").measure(direction, given.cache, given.budget * BUDGET[part])
        Path(file).write_text(json.dumps(list(measured)))
        return 0
    jobs = [(part, name) for part in given.only for name in PARTS[part] if name in given.directions]
    begin = time.perf_counter()
    rows: list[dict[str, Any]] = []
    inference: list[dict[str, Any]] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(dir=given.cache) as folder, Bar(len(jobs), "measurements") as bar:
        for part, direction in jobs:
            started, name = time.perf_counter(), f"{part} {direction}"
            bar.update(0, name)
            file = Path(folder) / "rows.json"
            words = ["--child", part, direction, str(file), "--cache", folder, "--budget", str(given.budget)]
            done = subprocess.run([sys.executable, "-m", "benchmark.perf", *words], stderr=subprocess.PIPE, text=True)
            if done.returncode:
                failed.append(name)
                say(f"error: {name} ended early: {done.stderr.strip()[-2000:]}")
            else:
                found = json.loads(file.read_text())
                if given.device != "cpu":  # promises are of a CPU
                    found = [{**row, **dict.fromkeys(row.keys() & {"promise", "verdict"})} for row in found]
                (inference if part == "inference" else rows).extend(found)
                say(f"{name} took {time.perf_counter() - started:.0f} s{report.verdicts(found)}")
            bar.update()
    command = "make perf" if not (arguments or sys.argv[1:]) else f"python -m benchmark.perf {' '.join(sys.argv[1:])}"
    written = report.write(given.out, rows, inference, command, time.perf_counter() - begin)
    print(written[0].read_text())
    for path in written:
        print(path)
    counts = Counter(row["verdict"] for row in rows if row.get("verdict"))
    kept = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"promises: {kept or 'none'}", file=sys.stderr)
    if failed:
        print(f"error: not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
