"""``python -m benchmark.features``: what the store holds, whether it is whole, and less of it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.features import Store
from benchmark.features.__main__ import main
from benchmark.features.store import batches_of, partial_of

N = 8


def key(split: str) -> dict[str, str]:
    return {
        "dataset": "simulated",
        "encoder": "papagei",
        "preset": "tiny",
        "side": "new",
        "split": split,
        "what": "pass",
    }


def values(split: str) -> np.ndarray:
    return np.random.default_rng(len(split)).standard_normal((N, 1000)).astype(np.float32)


def compute(split: str, stop: int = N):
    def batches(begin: int) -> Iterator[dict[str, np.ndarray]]:
        for row in range(begin, stop, 2):
            yield {"pooled/0": values(split)[row : row + 2], "pooled/1": values(split)[row : row + 2, :10]}
        if stop < N:
            raise KeyboardInterrupt

    return batches


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three finished entries, used 30, 20 and 10 days ago, one of them in bfloat16, and one that was interrupted."""
    root = tmp_path / "features"
    for days, split, dtype in ((30, "train", "float32"), (20, "val", "bfloat16"), (10, "test", "float32")):
        entry, _ = Store(root, dtype).get(key(split), N, compute(split))
        used(entry.path, days)
    with pytest.raises(KeyboardInterrupt):
        Store(root).get(key("pair"), N, compute("pair", 4))
    return tmp_path


def used(path: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def path(cache: Path, split: str) -> Path:
    return Store(cache / "features", "bfloat16" if split == "val" else "float32").path(key(split))


def splits(cache: Path) -> set[str]:
    """The finished entries that are there."""
    return {split for split in ("train", "val", "pair", "test") if path(cache, split).exists()}


def run(capsys, *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    found = capsys.readouterr()
    assert not found.err
    return code, found.out


# -- list -------------------------------------------------------------------------------------------------------------


def test_list_says_what_each_entry_is(cache: Path, capsys):
    code, out = run(capsys, "list", "--cache", cache)
    lines = {
        split: next(line for line in out.splitlines() if f"  {split}  " in line) for split in ("train", "val", "pair")
    }
    assert code == 0
    assert lines["train"].startswith(path(cache, "train").stem[:12])
    assert re.search(r"simulated +papagei tiny +new +train +pass +8 +2 +float32 +[\d.]+ kB +30 d", lines["train"])
    assert re.search(r"none +finished$", lines["train"])
    error = re.search(r"bfloat16 .* (\S+e-03) \((\S+e-03)\) +finished$", lines["val"])
    assert error
    assert 0 < float(error[2]) < float(error[1]) * 2 <= 2**-7
    assert lines["pair"].endswith("unfinished, 4 of 8 windows (50 %)")
    assert "3 finished" in out
    assert "1 unfinished, 0 damaged" in out


def test_list_of_one_entry_shows_its_key_and_arrays(cache: Path, capsys):
    code, out = run(capsys, "list", path(cache, "val").stem[:8], "--cache", cache)
    assert code == 0
    assert "split = val" in out
    assert re.search(r"pooled/0 +1000 +bfloat16 +\d\.\d\de-03 +\d\.\d\de-03", out)


def test_an_entry_that_is_opened_counts_as_used(cache: Path, capsys):
    Store(cache / "features").get(key("train"), N, lambda begin: pytest.fail("computed again"))
    _, out = run(capsys, "list", "--cache", cache)
    order = re.findall(r"new +(\w+) +pass", out)
    assert order.index("train") < order.index("test") < order.index("val")


def test_an_entry_that_is_being_computed_is_marked_and_kept(cache: Path, capsys):
    partial = partial_of(path(cache, "pair"))
    owner = {"host": socket.gethostname(), "pid": os.getppid(), "token": "of another process"}
    (partial / "owner.json").write_text(json.dumps(owner))
    assert "being computed, 4 of 8 windows" in run(capsys, "list", "--cache", cache)[1]
    code, out = run(capsys, "prune", "--all", "--cache", cache)
    assert code == 0
    assert f"kept {partial.stem[:12]}: a process computes it now" in out
    assert [file.name for file in (cache / "features").iterdir()] == [partial.name]
    assert len(batches_of(partial)) == 2


def test_an_empty_store_is_no_error(tmp_path: Path, capsys):
    (tmp_path / "features").mkdir()
    assert run(capsys, "list", "--cache", tmp_path) == (0, f"{tmp_path}/features: no entries\n")
    assert run(capsys, "verify", "--cache", tmp_path)[0] == 0
    assert run(capsys, "prune", "--all", "--cache", tmp_path)[0] == 0


# -- verify -----------------------------------------------------------------------------------------------------------


def flip(file: Path, at: bytes) -> None:
    """Change one bit of a value in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[content.index(at)] ^= 1
    file.write_bytes(content)


def test_verify_names_every_damaged_file_in_one_line(cache: Path, capsys):
    assert run(capsys, "verify", "--cache", cache)[0] == 0
    flip(path(cache, "test"), values("test")[5].tobytes())
    path(cache, "train").write_bytes(path(cache, "train").read_bytes()[:-100])
    batch = batches_of(partial_of(path(cache, "pair")))[1][2]
    flip(batch, values("pair")[3].tobytes())
    code, out = run(capsys, "verify", "--cache", cache)
    *damaged, last = out.splitlines()
    assert code == 1
    assert len(damaged) == 3
    assert f"{path(cache, 'test')}: pooled/0, windows 4 to 5: the checksum does not match" in damaged
    assert any(line.startswith(f"{path(cache, 'train')}: not a whole file") for line in damaged)
    assert any(line.startswith(f"{batch}: pooled/0") for line in damaged)
    assert last.startswith("3 of 3 entries")
    assert "computed again after `python -m benchmark.features prune --damaged`" in last
    assert splits(cache) == {"train", "val", "test"}, "verify removed something"


def test_what_was_damaged_is_computed_again_after_pruning(cache: Path, capsys):
    flip(path(cache, "test"), values("test")[5].tobytes())
    first, second = (file for *_, file in batches_of(partial_of(path(cache, "pair"))))
    flip(second, values("pair")[3].tobytes())
    code, out = run(capsys, "prune", "--damaged", "--cache", cache)
    assert code == 0
    assert "2 removed" in out
    assert splits(cache) == {"train", "val"}
    assert first.exists()
    assert not second.exists()
    assert run(capsys, "verify", "--cache", cache)[0] == 0
    entry, found = Store(cache / "features").get(key("test"), N, compute("test"))
    assert not found
    assert np.array_equal(entry["pooled/0"].numpy(), values("test"))


def test_files_of_another_version_are_told_apart_from_damage(cache: Path, capsys):
    file = path(cache, "test")
    file.write_bytes(file.read_bytes().replace(b'"format": 2}', b'"format": 0}'))
    assert "written by another version" in run(capsys, "list", "--cache", cache)[1]
    code, out = run(capsys, "verify", "--cache", cache)
    assert code == 0
    assert out.startswith("1 written by another version of the store")
    run(capsys, "prune", "--damaged", "--cache", cache)
    assert splits(cache) == {"train", "val"}


# -- prune ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "left", "partial"),
    [
        ([], {"train", "val", "test"}, True),
        (["--partial"], {"train", "val", "test"}, False),
        (["--older-than", 25], {"val", "test"}, True),
        (["--older-than", 15], {"test"}, True),
        (["--older-than", 15, "--partial"], {"test"}, False),
        (["--damaged"], {"train", "val", "test"}, True),
        (["--keep-gb", 1], {"train", "val", "test"}, True),
        (["--keep-gb", 0], set(), False),
        (["--all"], set(), False),
    ],
)
def test_prune_removes_what_is_asked_and_says_so(cache: Path, capsys, words, left, partial):
    before = {file: file.read_bytes() for file in cache.rglob("*.arrow")}
    code, said = run(capsys, "prune", "--dry-run", *words, "--cache", cache)
    assert code == 0
    assert {file: file.read_bytes() for file in cache.rglob("*.arrow")} == before
    code, out = run(capsys, "prune", *words, "--cache", cache)
    assert code == 0
    assert splits(cache) == left
    assert partial_of(path(cache, "pair")).exists() == partial
    removed = 3 - len(left) + (not partial)
    assert len(re.findall("^removed", out, re.MULTILINE)) == removed
    assert len(re.findall("^would remove", said, re.MULTILINE)) == removed
    assert f"{removed} removed" in out


def test_keep_gb_removes_the_least_recently_used_first(cache: Path, capsys):
    shutil.rmtree(partial_of(path(cache, "pair")))
    sizes = {split: path(cache, split).stat().st_size for split in ("test", "val", "train")}
    keep = (sizes["test"] + sizes["val"]) / 1e9
    code, out = run(capsys, "prune", "--keep-gb", f"{keep:.9f}", "--cache", cache)
    assert code == 0
    assert splits(cache) == {"test", "val"}
    assert f"1 removed, {sizes['train'] / 1000:.3g} kB" in out


def test_prune_removes_what_dead_processes_left(cache: Path, capsys):
    root = cache / "features"
    for split in ("val", "test"):  # one was killed after finishing; the other before its first batch was whole
        partial_of(path(cache, split)).mkdir()
    (partial_of(path(cache, "test")) / ".000000000-000000002.arrow.17.abcd.tmp").touch()
    temporary = partial_of(path(cache, "pair")) / ".000000004-000000006.arrow.17.abcd.tmp"
    old, young = root / ".entry.arrow.17.tmp", root / ".entry.arrow.18.tmp"
    for file in (temporary, old, young):
        file.write_bytes(b"half")
    used(old, 1)
    code, _ = run(capsys, "prune", "--cache", cache)
    assert code == 0
    assert {file.name for file in root.iterdir()} == {
        *(path(cache, split).name for split in ("train", "val", "test")),
        partial_of(path(cache, "pair")).name,
        young.name,
    }
    assert not temporary.exists()
    assert len(batches_of(partial_of(path(cache, "pair")))) == 2


# -- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: list | verify | prune"),
        (["show"], "invalid choice: 'show'"),
        (["list", "--cache", "nowhere"], "nowhere/features: no such folder; give --cache"),
        (["verify", "--cache", "nowhere"], "nowhere/features: no such folder; give --cache"),
        (["list", "ffffffff"], "has no entry 'ffffffff'"),
        (["prune", "--older-than", "soon"], "--older-than: 'soon' cannot be used; give a number, 0 or more"),
        (["prune", "--keep-gb", "-1"], "--keep-gb: '-1' cannot be used; give a number, 0 or more"),
        (["prune", "--keep-gb", "nan"], "--keep-gb: 'nan' cannot be used"),
        (["prune", "--everything"], "unrecognized arguments: --everything"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(cache: Path, capsys, words, said):
    given = words if "--cache" in words or len(words) < 2 else [*words, "--cache", str(cache)]
    before = sorted(cache.rglob("*"))
    assert main(given) == 2
    found = capsys.readouterr()
    assert not found.out
    assert found.err.startswith("error: ")
    assert said in found.err
    assert found.err.count("\n") == 1
    assert sorted(cache.rglob("*")) == before


def test_it_is_a_command(cache: Path):
    command = [sys.executable, "-m", "benchmark.features"]
    done = subprocess.run([*command, "verify", "--cache", str(cache)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole: every value matches its checksum" in done.stdout
