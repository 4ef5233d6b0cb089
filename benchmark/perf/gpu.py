"""``python -m benchmark.perf.gpu``: what ``make gpu`` runs: the tests that need a GPU, then all of ``make perf`` on it.

The report is ``docs/performance/<date>-<its name>.md``. Without a GPU it says so, and exits with 3.
"""

import subprocess
import sys
from pathlib import Path

import torch

from benchmark.common.machine import built_for_gpus

NO_GPU = 3
TESTS = (sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "tests")
MEASURED = (sys.executable, "-m", "benchmark.perf", "--device", "cuda")


def main() -> int:
    if not torch.cuda.is_available():
        why = "torch finds none" if built_for_gpus() else f"torch {torch.__version__} is built for CPUs alone"
        print(f"No GPU on this machine ({why}): nothing was tested or measured.", file=sys.stderr)
        return NO_GPU
    if not Path("tests").is_dir():
        print("error: run it in the project's folder, where its tests are", file=sys.stderr)
        return 2
    tested, measured = (subprocess.run(command).returncode for command in (TESTS, MEASURED))
    return tested or measured


if __name__ == "__main__":
    sys.exit(main())
