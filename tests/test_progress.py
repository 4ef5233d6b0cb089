"""What work says while it goes on: a live bar for a terminal, few lines for a log file, and each notice once."""

import io
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from unittest import mock

import pytest

from benchmark.cluster import progress as cluster_progress
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, call, run_jobs
from benchmark.common.progress import Bar, Progress
from benchmark.common.terminal import exit_code
from benchmark.config.cluster import LocalCluster
from benchmark.errors import InputError, Notice

ROOT = Path(__file__).parents[1]


class Screen(io.StringIO):
    """A stream that is, or is not, a terminal."""

    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def work(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(Bar, "EVERY", 0.2)
    with Bar(24, "features", 4) as bar:
        for subject in range(20):
            bar.update(0, f"ecg of S{subject}")
            time.sleep(0.025)
            bar.update()
    return screen.getvalue()


def test_a_log_file_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch):
    said = work(Screen(terminal=False), monkeypatch)
    *between, last = said.splitlines()
    assert "\r" not in said
    assert 1 <= len(between) <= 4
    assert all(re.fullmatch(r"features \d+/24 after \d s: ecg of S\d+", line) for line in between), between
    assert re.fullmatch(r"features 24/24 in \d s", last)
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_terminal_gets_a_bar_that_lives(monkeypatch: pytest.MonkeyPatch):
    said = work(Screen(terminal=True), monkeypatch)
    assert said.count("\r") >= 20
    assert "24/24" in said
    assert "ecg of S19" in said


def test_a_line_does_not_break_a_bar(monkeypatch: pytest.MonkeyPatch):
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)

    def command() -> None:
        with Bar(2, "features"):
            for _ in range(2):
                warnings.warn("a file is damaged", Notice, stacklevel=1)
            warnings.warn("another one is", Notice, stacklevel=1)

    assert exit_code(command) == 0
    lines = [line.split("\r")[-1].strip() for line in screen.getvalue().splitlines()]
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: a file is damaged",
        "warning: another one is",
    ]


def test_installing_says_what_it_does_where_there_is_something_to_do(tmp_path: Path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"  # one that installs nothing
    python.write_text('#!/bin/sh\n[ "$2" != venv ] || { mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }\n')
    python.chmod(0o755)
    command = ["make", "--no-print-directory", "setup", f"PYTHON={python}"]
    first, again = (subprocess.run(command, cwd=tmp_path, capture_output=True, text=True) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert re.fullmatch(r"Installing .* two minutes, up to 3 GB to download\n", first.stdout)
    assert "Installing" not in again.stdout


def test_other_warnings_are_shown_as_ever(recwarn: pytest.WarningsRecorder):
    def command() -> None:
        warnings.warn("of a library", RuntimeWarning, stacklevel=1)

    assert exit_code(command) == 0
    assert [str(warning.message) for warning in recwarn] == ["of a library"]


def damaged(subject: str, progress: object) -> str:
    warnings.warn(f"{subject} is damaged; it is computed again", Notice, stacklevel=1)
    warnings.warn("all files are old", Notice, stacklevel=1)
    if subject == "S3":
        raise InputError("S3 cannot be read")
    return subject


def test_what_workers_notice_reaches_the_user_once_also_of_one_that_fails(capsys: pytest.CaptureFixture[str]):
    found: list[str] = []

    def command() -> None:
        options = LocalCluster(cpus=2)
        with session(options):
            for subjects in (("S1", "S2"), ("S3",)):
                jobs = [Job(subject, damaged, (subject,)) for subject in subjects]
                run_jobs(jobs, options, "files", lambda _, subject: found.append(subject))

    assert exit_code(command) == 2
    assert sorted(found) == ["S1", "S2"]
    said = capsys.readouterr().err.splitlines()
    assert sorted(line for line in said if line.startswith("warning")) == [
        *(f"warning: {subject} is damaged; it is computed again" for subject in ("S1", "S2", "S3")),
        "warning: all files are old",
    ]
    assert said[-1] == "error: S3 cannot be read"
    assert [line for line in said if line.startswith("files 2/2 in ")]


class Heard:
    """A ``StatusActor`` of this process."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        say, done = mock.Mock(), mock.Mock()
        say.remote, done.remote = self.said.__setitem__, self.said.pop
        self.say, self.done, self.notice = say, done, mock.Mock()


def test_what_a_job_leaves_open_says_nothing_in_its_name(monkeypatch: pytest.MonkeyPatch):
    """Features that a teacher's job opened are read by trials afterwards, in the same process."""
    monkeypatch.setattr(cluster_progress.ray, "get", lambda given: given)
    status = Heard()

    def leaves(progress: Progress) -> Progress:
        progress(3, 4, "pooled of S1")
        assert status.said == {"teacher": "pooled of S1 75 %"}
        return progress

    left = call(Job("teacher", leaves, ()), status)
    assert not status.said
    left(4, 4, "pooled of S2")
    assert not status.said
