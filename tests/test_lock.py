"""A run's folder has one driver; its lock ends with it, however it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.results.lock import locked

HOLD = "import sys, time; from pathlib import Path; from benchmark.results.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def held(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_that_another_driver_writes_is_refused_until_that_has_ended(tmp_path, end):
    folder = tmp_path / "results" / "one"
    process = held(folder)
    try:
        with (
            pytest.raises(InputError, match=f"is being written by process {process.pid} of .*name=<new name>"),
            locked(folder),
        ):
            pass
        with locked(folder.with_name("two")):
            pass
    finally:
        process.send_signal(end)
        process.wait()
    with locked(folder):
        assert not folder.exists()


def test_a_lock_is_given_back_and_may_be_taken_again(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "one"):
            pass
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "one"):
        raise ZeroDivisionError
    process = held(tmp_path / "one")
    process.kill()
    process.wait()
