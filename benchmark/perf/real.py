"""``python -m benchmark.perf.real <folder of recordings>``: all real directions, one after the other, in one table.

Each is a run of its own in ``results/real/<direction>``, with the same few trials for every method, without calibration
and with the wearer's. What is finished is not run again, and what was stopped goes on. The table of methods by
directions, and of each direction the tables that say what it rests on, go to ``--out``.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from benchmark.__main__ import main as benchmark
from benchmark.common.files import write_bytes
from benchmark.common.machine import cores
from benchmark.common.terminal import exit_code
from benchmark.errors import InputError
from benchmark.perf.ablation import shown_words

LONGER = ("kd_logits.epochs=10", "kd_decoupled.epochs=10")
DIRECTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "eegmat_eeg2ecg": ("eegmat", LONGER),
    "eegmat_ecg2eeg": ("eegmat", ()),
    "stress_eda2ppg": ("stress_predict", ("data.stride=180", "pretraining.steps=100")),
    "stress_ppg2eda": ("stress_predict", ("data.stride=180", "pretraining.steps=100")),
    "troika_ecg2ppg": ("troika", ()),
    "troika_ppg2ecg": ("troika", ()),
}
"""The folder of recordings; and what keeps a direction of long windows short, or gives one more that has the time."""
WORDS = (
    "methods=[bridge,probe_hard,ridge,knn,kd_logits,kd_decoupled]",
    "references=[majority,teacher,oracle_probe]",
    "calibration=[none,wearer]",
    "search.trials=4",
    "final.seeds=[0]",
    "bridge.objective=decision",
    "bridge.epochs=20",
    "kd_logits.epochs=5",
    "kd_decoupled.epochs=5",
)
"""Few trials, so that a night is enough. A bridge's epoch takes a third to a fortieth of a student's, and of its
objectives four trials cannot try each: one is fixed, by agreement with the teacher on held-out people."""
TABLES = ("accuracy", "comparisons", "transfer", "parameters")
"""Of each direction, beside the table of all."""
MINUTES = "minutes.json"


def words_of(direction: str, recordings: Path, results: Path, given: Sequence[str] = ()) -> list[str]:
    """The command line of a direction's run, which goes on where it was stopped."""
    folder, own = DIRECTIONS[direction]
    words = [f"experiment={direction}", f"data.root={recordings / folder}", f"results={results}", *WORDS, *own, *given]
    return [*words, "resume=true"] if (results / direction / "plan.json").exists() else words


def check(recordings: Path, directions: Sequence[str]) -> None:
    """InputError for a direction that there is not, or without recordings."""
    for direction in directions:
        if direction not in DIRECTIONS:
            raise InputError(f"--directions: there is no {direction!r}; give some of {', '.join(DIRECTIONS)}")
    missing = sorted({DIRECTIONS[d][0] for d in directions if not (recordings / DIRECTIONS[d][0]).is_dir()})
    if missing:
        raise InputError(
            f"{recordings}: has no folder {missing[0]}; give the folder in which eegmat, stress_predict and troika lie "
            f"(python -m benchmark.data fetch {missing[0]} --to {recordings / missing[0]} gets it)"
        )


def run(words: Sequence[str]) -> None:
    """As from its command line, which says why it ends with anything but 0."""
    if code := benchmark(words):
        raise SystemExit(code)


def publish(folders: Sequence[Path], out: Path, said: str) -> str:
    """Write the tables of all directions and each one's own under ``out``; the first as Markdown, with a line below."""
    from analysis.across import standing, summary
    from analysis.run import Run
    from analysis.writers import markdown, save

    runs, page = [Run(folder) for folder in folders], ""
    for table in (summary.table(runs), *standing.tables(runs)):
        save(table, out)
        shown = f"{markdown(table)}\n{said}\n"
        write_bytes(out / f"{table.name}.md", shown.encode())
        page += shown
    for folder in folders:
        (out / folder.name).mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            shutil.copyfile(folder / "tables" / f"{name}.md", out / folder.name / f"{name}.md")
    return page


@contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Adds what the block takes, also where it is stopped, to the minutes that a direction took in all."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        if folder.is_dir():
            spent = minutes(folder) + (time.perf_counter() - begin) / 60
            write_bytes(folder / MINUTES, json.dumps({"minutes": spent}).encode())


def minutes(folder: Path) -> float:
    """Of all starts of a direction until now."""
    kept = folder / MINUTES
    return float(json.loads(kept.read_text())["minutes"]) if kept.exists() else 0.0


def _main(arguments: Sequence[str], run: Callable[[Sequence[str]], None]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.real", description=__doc__)
    parser.add_argument("recordings", type=Path, help="where eegmat/, stress_predict/ and troika/ lie")
    parser.add_argument("words", nargs="*", help="as of a run, for all of them, such as search.trials=12")
    parser.add_argument("--directions", nargs="+", default=[*DIRECTIONS], help="default: all six")
    parser.add_argument("--results", type=Path, default=Path("results/real"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/results/real"), help="default: %(default)s")
    given = parser.parse_intermixed_args(arguments)
    check(given.recordings, given.directions)
    for k, direction in enumerate(given.directions):
        print(f"\n[{k + 1}/{len(given.directions)}] {direction}", flush=True)
        with timed(given.results / direction):
            run(words_of(direction, given.recordings, given.results, given.words))
    folders = [given.results / direction for direction in given.directions]
    spent = [minutes(folder) for folder in folders]
    each = ", ".join(f"{folder.name} {value:.0f}" for folder, value in zip(folders, spent, strict=True))
    words = " ".join(["python -m benchmark.perf.real /path/to/recordings", *shown_words(given.words)])
    said = f"`{words}`, {date.today()}, {sum(spent):.0f} minutes on {cores()} cores ({each})."
    print(publish(folders, given.out, said))
    return 0


def main(arguments: Sequence[str] | None = None, run: Callable[[Sequence[str]], None] = run) -> int:
    """The command line; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code(lambda: _main(given, run), "Stopped; the same command goes on.")


if __name__ == "__main__":
    sys.exit(main())
