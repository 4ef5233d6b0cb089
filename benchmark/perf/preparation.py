"""``python -m benchmark.perf.preparation``: how much memory preparing whole nights takes, and how fast it is.

Nights in ISRUC's shape (900 epochs of 30 s, six channels of EEG and one of ECG) are prepared for ten subjects and for
twenty, each in a process of its own: simulated, and from files in the published form. Then one and four processes read
all windows of one set. Peaks are the kernel's (VmHWM); shared pages are counted once (Pss).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmark.common.machine import PeakMemory, cores

EPOCHS = 900


def write_nights(root: Path, subjects: int, epochs: int) -> None:
    """A night of each subject as a ``.mat`` set with its labels; one that is shifted, as a copy would be refused."""
    import scipy.io

    rng = np.random.default_rng(0)
    names = ("F3_A2", "C3_A2", "O1_A2", "F4_A1", "C4_A1", "O2_A1", "X2")
    (root / "ExtractedChannels").mkdir(parents=True)
    night = {name: 30 * rng.standard_normal((epochs, 6000), dtype=np.float32) for name in names}
    for number in range(1, subjects + 1):
        shifted = {name: np.roll(signal, number, axis=1) for name, signal in night.items()}
        scipy.io.savemat(root / "ExtractedChannels" / f"subject{number}.mat", shifted)
        folder = root / "RawData" / str(number)
        folder.mkdir(parents=True)
        stages = rng.choice([0, 1, 2, 3, 5], epochs + 30)
        (folder / f"{number}_1.txt").write_text("\n".join(map(str, stages)) + "\n")


def prepare(source: str, root: Path, subjects: int, epochs: int, folder: Path) -> None:
    """Prepare into ``folder``, and print the process's peak in MiB and the windows a second."""
    from benchmark.data import cache, registry

    if source == "simulated":
        options = {"like": "isruc", "subjects": subjects, "condition_seconds": 30.0 * epochs}
    else:
        options = {
            "root": str(root),
            "exclude": [n for n in range(subjects + 1, 1 + len(list((root / "RawData").iterdir())))],
        }
    dataset = registry.build("simulated" if source == "simulated" else "isruc", options)
    memory, begin = PeakMemory(torch.device("cpu")), time.perf_counter()
    windows = cache.load(dataset, "eeg", "ecg", folder, progress=False)
    print(f"{memory.bytes() / 2**20:.0f} {len(windows) / (time.perf_counter() - begin):.1f}")


def read(source: str, subjects: int, epochs: int, folder: Path) -> None:
    """Read all windows once; say so, wait for a line, and print this process's share of memory in MiB."""
    from benchmark.data import cache, registry

    options = {"like": "isruc", "subjects": subjects, "condition_seconds": 30.0 * epochs}
    windows = cache.load(registry.build("simulated", options), "eeg", "ecg", folder, progress=False)
    for part in np.array_split(np.arange(len(windows)), -(-len(windows) // 64)):
        windows.old.take(part)
        windows.new.take(part)
    print("ready", flush=True)
    sys.stdin.readline()
    print(_pss() / 1024, flush=True)
    sys.stdin.readline()


def _pss() -> int:
    """This process's memory in KiB, pages that others map too divided among them."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise OSError("no Pss in /proc/self/smaps_rollup")


def _child(*words: object) -> list[str]:
    return [sys.executable, "-m", "benchmark.perf.preparation", *map(str, words)]


def _shared(processes: int, subjects: int, epochs: int, folder: Path) -> float:
    """MiB that so many readers take together."""
    words = _child("--child", "read", "--subjects", subjects, "--epochs", epochs, "--folder", folder)
    running = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    total = 0.0
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:  # all have read all; none has ended
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        total += float(process.stdout.readline())
    for process in running:
        process.communicate("\n")
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.preparation", description=__doc__)
    parser.add_argument("--subjects", type=int, default=10, help="fewer of the two numbers; default: %(default)s")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of a night; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="on a disk with 8 GB free; default: a temporary one")
    parser.add_argument("--child", choices=("prepare", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--source", choices=("simulated", "files"), default="simulated", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, default=Path(), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child == "prepare":
        prepare(given.source, given.root, given.subjects, given.epochs, given.folder)
        return 0
    if given.child == "read":
        read(given.source, given.subjects, given.epochs, given.folder)
        return 0
    print(f"nights of {given.epochs} epochs, {cores()} cores")
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        root = Path(temporary) / "isruc"
        write_nights(root, 2 * given.subjects, given.epochs)
        for source in ("files", "simulated"):
            for subjects in (given.subjects, 2 * given.subjects):
                folder = Path(temporary) / f"{source}{subjects}"
                options = ["--source", source, "--root", root, "--subjects", subjects, "--epochs", given.epochs]
                words = _child("--child", "prepare", *options, "--folder", folder)
                found = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
                print(f"{source:<10} {subjects:>3} subjects: peak {found[0]} MiB, {found[1]} windows/s", flush=True)
                if source == "simulated" and subjects == given.subjects:
                    one, four = (_shared(n, subjects, given.epochs, folder) for n in (1, 4))
                    print(f"reading all of it: {one:.0f} MiB in one process, {four:.0f} MiB in four", flush=True)
                for file in folder.rglob("*.arrow"):
                    file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
