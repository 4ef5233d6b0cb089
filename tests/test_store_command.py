"""``python -m benchmark.frozen``: what the store holds, whether it is whole, and less of it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.common import store as module
from benchmark.common.store import Store
from benchmark.frozen.__main__ import main

N = 8
SUBJECTS = {"anna": (30, "float32"), "ben": (20, "bfloat16"), "cem": (10, "float32")}
"""When a subject's features were last used, in days, and how they are stored."""


def key(subject: str) -> dict[str, str]:
    of = {"dataset": "noise", "content": "c", "modality": "ppg", "subject": subject}
    return {**of, "encoder": "papagei", "preset": "tiny", "what": "pooled", "weights": "w"}


def values(subject: str) -> np.ndarray:
    return np.random.default_rng(len(subject)).standard_normal((N, 1000)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "CHUNK", 16_000)
    for subject, (days, dtype) in SUBJECTS.items():
        with Store(tmp_path / "features", dtype).writer(key(subject)) as writer:
            for row in range(0, N, 2):
                rows = values(subject)[row : row + 2]
                writer.add({"pooled/0": rows, "pooled/1": rows[:, :10]}, 0.5)
        used(path(tmp_path, subject), days)
    return tmp_path


def used(file: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    os.utime(file, (moment, moment))


def path(cache: Path, subject: str) -> Path:
    return Store(cache / "features", SUBJECTS[subject][1]).path(key(subject))


def left(cache: Path) -> set[str]:
    return {subject for subject in SUBJECTS if path(cache, subject).exists()}


def run(capsys, *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    found = capsys.readouterr()
    assert not found.err
    return code, found.out


def damage(cache: Path) -> None:
    """A flipped bit in one entry, a lost end of another."""
    content = bytearray(path(cache, "cem").read_bytes())
    content[content.index(values("cem")[5].tobytes())] ^= 1
    path(cache, "cem").write_bytes(content)
    path(cache, "anna").write_bytes(path(cache, "anna").read_bytes()[:-100])


def test_list_says_what_each_entry_is_the_last_used_first(cache: Path, capsys):
    code, out = run(capsys, "list", "--cache", cache)
    assert code == 0
    assert re.findall(r"noise +(\w+) +ppg", out) == ["cem", "ben", "anna"]
    lines = {subject: next(line for line in out.splitlines() if f"  {subject}  " in line) for subject in SUBJECTS}
    assert lines["anna"].startswith(path(cache, "anna").stem[:12])
    assert re.search(r"ppg +papagei +tiny +pooled +8 +2 +float32 +.* none +[\d.]+ kB +30 d +whole$", lines["anna"])
    error = re.search(r"bfloat16 .* (\S+e-03) \((\S+e-03)\) +\S+ kB +20 d +whole$", lines["ben"])
    assert error
    assert 0 < float(error[2]) < float(error[1]) * 2 <= 2**-7
    assert "3 whole" in out
    assert "0 damaged or outdated" in out


def test_list_of_one_entry_shows_its_key_and_arrays(cache: Path, capsys):
    code, out = run(capsys, "list", path(cache, "ben").stem[:8], "--cache", cache)
    assert code == 0
    assert "subject = ben" in out
    assert re.search(r"pooled/0 +1000 +bfloat16 +\d\.\d\de-03 +\d\.\d\de-03", out)


def test_an_entry_that_is_opened_counts_as_used(cache: Path, capsys):
    Store(cache / "features").open(key("anna"))
    assert re.findall(r"noise +(\w+) +ppg", run(capsys, "list", "--cache", cache)[1]) == ["anna", "cem", "ben"]


def test_an_empty_store_is_no_error(tmp_path: Path, capsys):
    (tmp_path / "features").mkdir()
    assert run(capsys, "list", "--cache", tmp_path) == (0, f"{tmp_path}: no entries\n")
    assert run(capsys, "verify", "--cache", tmp_path)[0] == 0
    assert run(capsys, "prune", "--all", "--cache", tmp_path)[0] == 0


def test_verify_names_every_damaged_file_in_one_line(cache: Path, capsys):
    assert run(capsys, "verify", "--cache", cache)[0] == 0
    damage(cache)
    code, out = run(capsys, "verify", "--cache", cache)
    *damaged, last = out.splitlines()
    assert code == 1
    assert len(damaged) == 2
    assert f"{path(cache, 'cem')}: the checksum does not match" in damaged
    assert any(line.startswith(f"{path(cache, 'anna')}: not a whole file") for line in damaged)
    assert last.startswith("2 of 3 entries")
    assert left(cache) == set(SUBJECTS), "verify removed something"


def test_prune_removes_the_damaged(cache: Path, capsys):
    damage(cache)
    code, out = run(capsys, "prune", "--damaged", "--cache", cache)
    assert code == 0
    assert "2 removed" in out
    assert left(cache) == {"ben"}
    assert run(capsys, "verify", "--cache", cache)[0] == 0


def test_files_of_another_version_are_told_apart_from_damage(cache: Path, capsys, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", 2)
    with Store(cache / "features").writer(key("anna")) as writer:
        writer.add({"a": values("anna")})
    monkeypatch.undo()
    assert "written by another version" in run(capsys, "list", "--cache", cache)[1]
    code, out = run(capsys, "verify", "--cache", cache)
    assert code == 0
    assert out.startswith("1 written by another version of the store")
    assert "1 removed" in run(capsys, "prune", "--damaged", "--cache", cache)[1]
    assert left(cache) == set(SUBJECTS)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], {"anna", "ben", "cem"}),
        (["--older-than", 25], {"ben", "cem"}),
        (["--older-than", 15], {"cem"}),
        (["--damaged"], {"anna", "ben", "cem"}),
        (["--keep-gb", 1], {"anna", "ben", "cem"}),
        (["--keep-gb", 0], set()),
        (["--all"], set()),
    ],
)
def test_prune_removes_what_is_asked_and_says_so(cache: Path, capsys, words, kept):
    before = {file: file.read_bytes() for file in cache.rglob("*.arrow")}
    _, said = run(capsys, "prune", "--dry-run", *words, "--cache", cache)
    assert {file: file.read_bytes() for file in cache.rglob("*.arrow")} == before
    code, out = run(capsys, "prune", *words, "--cache", cache)
    assert code == 0
    assert left(cache) == kept
    assert len(re.findall("^removed", out, re.MULTILINE)) == 3 - len(kept)
    assert len(re.findall("^would remove", said, re.MULTILINE)) == 3 - len(kept)
    assert f"{3 - len(kept)} removed" in out


def test_keep_gb_removes_the_least_recently_used_first(cache: Path, capsys):
    sizes = {subject: path(cache, subject).stat().st_size for subject in SUBJECTS}
    _, out = run(capsys, "prune", "--keep-gb", f"{(sizes['cem'] + sizes['ben']) / 1e9:.9f}", "--cache", cache)
    assert left(cache) == {"ben", "cem"}
    assert f"1 removed, {sizes['anna'] / 1000:.3g} kB" in out


def test_prune_removes_what_dead_processes_left(cache: Path, capsys):
    root, dead = cache / "features", 2**22 + 1
    files = [(dead, 1.0), (dead, 0.0), (os.getpid(), 1.0)]
    temporary = [root / f".{k:032d}.arrow.{process}.abcd.tmp" for k, (process, _) in enumerate(files)]
    for file, (_, days) in zip(temporary, files, strict=True):
        file.write_bytes(b"half")
        used(file, days)
    run(capsys, "prune", "--cache", cache)
    assert left(cache) == set(SUBJECTS)
    assert [file.exists() for file in temporary] == [False, True, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: list | verify | prune"),
        (["show"], "invalid choice: 'show'"),
        (["list", "--cache", "nowhere"], "nowhere: no such folder; give --cache"),
        (["verify", "--cache", "nowhere"], "nowhere: no such folder; give --cache"),
        (["list", "ffffffff"], "has no entry 'ffffffff'"),
        (["prune", "--older-than", "soon"], "--older-than: 'soon' cannot be used; give a number, 0 or more"),
        (["prune", "--keep-gb", "-1"], "--keep-gb: '-1' cannot be used; give a number, 0 or more"),
        (["prune", "--keep-gb", "nan"], "--keep-gb: 'nan' cannot be used"),
        (["prune", "--everything"], "unrecognized arguments: --everything"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(cache: Path, capsys, words, said):
    given = words if "--cache" in words or len(words) < 2 else [*words, "--cache", str(cache)]
    assert main(given) == 2
    found = capsys.readouterr()
    assert not found.out
    assert found.err.startswith("error: ")
    assert said in found.err
    assert found.err.count("\n") == 1
    assert left(cache) == set(SUBJECTS)


def test_it_is_a_command(cache: Path):
    command = [sys.executable, "-m", "benchmark.frozen", "verify", "--cache", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole: every byte matches its checksum" in done.stdout
