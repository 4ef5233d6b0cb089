"""A run that is told to end keeps what was finished, says how to go on, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import LIGHT

MARK = "BENCHMARK_TEST_MARK"
WORDS = (
    *LIGHT,
    "methods=[bridge]",
    "references=[majority,oracle_finetune]",
    "search.trials=4",
    "search.batch=2",
    "final.seeds=[0]",
    "bridge.epochs=20",
    "oracle_finetune.epochs=20",
    "cluster.cpus=1",
    "name=run",
)


def processes(mark: str) -> list[psutil.Process]:
    """All that a run started, itself too: they inherit its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def at_work(driver: psutil.Process, what: str) -> bool:
    """Whether a process of that name is among those that the run started."""
    try:
        return any(what in " ".join(process.cmdline()) for process in driver.children(recursive=True))
    except psutil.Error:
        return False


def rows(run: Path) -> str:
    log = run / "rows.jsonl"
    return log.read_text() if log.exists() else ""


GO_ON = "resume=true goes on"
PHASES: list[tuple[str, Callable[[Path, psutil.Process], bool], signal.Signals, bool, str]] = [
    ("Ray starts", lambda run, driver: at_work(driver, "gcs_server"), signal.SIGTERM, False, "before the run began"),
    ("Ray started", lambda run, driver: at_work(driver, "raylet"), signal.SIGINT, False, "before the run began"),
    ("preparing", lambda run, driver: at_work(driver, "SearchTrial"), signal.SIGHUP, False, GO_ON),
    ("search", lambda run, driver: '"search"' in rows(run), signal.SIGTERM, True, GO_ON),
    ("evaluation", lambda run, driver: '"final"' in rows(run), signal.SIGINT, False, GO_ON),
    ("Ray ends", lambda run, driver: '"finished"' in rows(run), signal.SIGTERM, False, GO_ON),
    ("analysis", lambda run, driver: (run / "tables").exists(), signal.SIGTERM, False, "python -m analysis"),
]
"""What a run is at, how that is seen, the signal, whether its whole process group gets it, and what it says then."""


def test_a_signal_ends_a_run_as_ctrl_c_does_whatever_it_is_at(tmp_path: Path):
    """One run after the other, each resumes the last."""
    run = tmp_path / "results" / "run"
    for phase, reached, number, group, said in PHASES:
        mark = uuid.uuid4().hex
        with (tmp_path / f"{phase}.log").open("w+") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmark", *WORDS, f"resume={'true' if run.exists() else 'false'}"],
                stdout=log,
                stderr=log,
                cwd=tmp_path,
                env={**os.environ, MARK: mark},
                start_new_session=True,
            )
            driver = psutil.Process(process.pid)
            before = rows(run)
            for _ in range(15000):  # 5 minutes and more: machines are slow at times
                if reached(run, driver) or process.poll() is not None:
                    break
                time.sleep(0.02)
            assert process.poll() is None, f"{phase}: ended early\n{Path(log.name).read_text()}"
            (os.killpg if group else os.kill)(process.pid, number)
            code = process.wait(timeout=180)
            output = Path(log.name).read_text()
        assert code == 128 + number, f"{phase}\n{output}"
        assert "Traceback" not in output, f"{phase}\n{output}"
        assert said in output.splitlines()[-1], f"{phase}\n{output}"
        assert rows(run).startswith(before), phase
        assert not (run / "ray").exists() or not list((run / "ray").iterdir()), phase
        for _ in range(50):
            if not (left := processes(mark)):
                break
            time.sleep(0.1)
        assert not left, f"{phase}: {[process.cmdline() for process in left]}"


FORKING = """
import os, signal, sys
from benchmark.cluster.session import session
from benchmark.common.terminal import exit_code
from benchmark.config.cluster import LocalCluster

sent = []

def hook():
    if not sent:
        sent.append(os.kill(os.getpid(), int(sys.argv[1])))

def command():
    os.register_at_fork(after_in_parent=hook)
    with session(LocalCluster(cpus=1)):
        print("it went on")

sys.exit(exit_code(command))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_while_ray_forks_is_not_lost(number: int):
    """An exception in a hook of a fork is printed and forgotten, and a lock that the hook lets go of stays locked."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-c", FORKING, str(number)]
    given = {"env": {**os.environ, MARK: mark}, "capture_output": True, "text": True, "timeout": 180}
    ended = subprocess.run(command, **given)
    assert (ended.returncode, ended.stdout) == (128 + number, ""), ended.stderr
    assert ended.stderr.splitlines() == ["", "Stopped."]
    for _ in range(50):
        if not (left := processes(mark)):
            break
        time.sleep(0.1)
    assert not left, [process.cmdline() for process in left]
