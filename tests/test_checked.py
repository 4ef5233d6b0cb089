"""All of a configuration is checked before anything is written: one line, and no folder of a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.common.terminal import exit_code
from benchmark.errors import InputError
from benchmark.registry import configure
from benchmark.run import run
from tests.conftest import SMALL

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


EXISTING = "cluster=existing"
WRONG: list[tuple[list[str], str]] = [
    # where it runs
    (["cluster=k8s"], "unknown cluster=k8s; choose one of existing, local"),
    (["cluster.name=existing"], "cluster.name=existing cannot be used; give cluster=<name>: existing, local"),
    (["cluster.address=auto"], "cluster.address is an option of cluster=existing, and this is cluster=local"),
    ([EXISTING, "cluster.cpus=2"], "cluster.cpus is an option of cluster=local, and this is cluster=existing"),
    ([EXISTING, "cluster.address=127.0.0.1:9"], "no Ray cluster answers at cluster.address=127.0.0.1:9"),
    ([EXISTING, "cluster.address=banana"], "'banana' cannot be used; give host:port of a Ray cluster's head, or auto"),
    ([EXISTING, "cluster.address=ray://a:1"], "'ray://a:1' cannot be used; give host:port"),
    ([EXISTING, "cluster.address=a:99999"], "'a:99999' cannot be used; give host:port"),
    ([EXISTING, "cluster.address=null"], "cluster.address=null cannot be used; give host:port, or auto"),
    (["cluster.cpus=banana"], "cluster.cpus=banana cannot be used; give a whole number of at least 1"),
    (["cluster.cpus=0"], "cluster.cpus=0 cannot be used; give a whole number of at least 1"),
    (["cluster.cpus=5000"], "at most 1024"),
    (["cluster.object_store_mb=1"], "cluster.object_store_mb=1 cannot be used; give a whole number of at least 80"),
    (["cluster.cpus_per_trial=0"], "cluster.cpus_per_trial=0 cannot be used; give a number of at least 0.0001"),
    (["cluster.cpus_per_trial=inf"], "cluster.cpus_per_trial=inf cannot be used"),
    (["cluster.cpus=1", "cluster.cpus_per_trial=64"], "cluster.cpus_per_trial=64 asks for more than a node"),
    (["cluster.cpus=2", "kd_logits.workers=3"], "the cluster has room for 2: give at most as many"),
    (["cluster.gpus_per_trial=-3"], "cluster.gpus_per_trial=-3 cannot be used; give a whole number, or a fraction"),
    (["cluster.gpus_per_trial=1.5"], "1.5 cannot be used; give a whole number, or a fraction"),
    (["cluster.gpus=0", "cluster.gpus_per_trial=1"], "cluster.gpus_per_trial=1 asks for more than"),
    (["device=cuda", "cluster.gpus_per_trial=0"], "device=cuda needs a GPU a trial"),
    (["device=gpu"], "device=gpu cannot be used; give cpu or cuda"),
    (["device=cuda:1"], "CUDA_VISIBLE_DEVICES"),
    (["device=null"], "device=null cannot be used"),
    (["threads=100000"], "at most 1024"),
    # folders
    (["results=/proc/nothing"], "results=/proc/nothing cannot be written to"),
    (["cache=/proc/nothing"], "cache=/proc/nothing cannot be written to"),
    (["results={tmp}/file"], "cannot be written to (it is a file)"),
    (["cache={tmp}/file"], "cannot be written to (it is a file)"),
    (["results={tmp}/fifo"], "cannot be written to (not a directory)"),
    (["results={tmp}/loop"], "cannot be written to (too many levels of symbolic links)"),
    (["cache={tmp}/loop/deeper"], "cannot be written to (too many levels of symbolic links)"),
    (["cache={tmp}/dangling/deeper"], "cannot be written to (no such file or directory)"),
    (["results=" + "x/" * 4000], "cannot be written to (file name too long)"),
    (["cache=" + "x" * 300], "cannot be written to (file name too long)"),
    (["results="], "results: '' cannot be used; give a folder"),
    (["cache=null"], "cache=null cannot be used"),
    ([f"name={'x' * 300}"], "give a folder name of at most 200 bytes"),
    (["name=a/../b"], "give a folder name"),
    (["name=3"], "name=3 cannot be used; give text"),
    (["resume=true"], "holds no run; leave resume out"),
    (["old.weights=/no/such.safetensors"], "/no/such.safetensors: does not exist"),
    (["old.weights={tmp}/fifo"], "give a .safetensors file"),
    (["old.weights=null"], "old.weights=null cannot be used"),
    (["new.weights=released"], "there are no released weights for papagei tiny"),
    (["search.warm_start={tmp}/file"], "holds no rows.jsonl"),
    # what is chosen
    (["data=eegmat"], "experiment=quickstart sets data.condition_seconds, which data=eegmat does not have"),
    (["data.root=/tmp"], "data.root is an option of data=eegmat and"),
    (["data=[simulated]"], "unknown data=[simulated]"),
    (["encoder=papagei"], "give encoder@old=<name> or encoder@new=<name>"),
    (["encoder@new=hubert_ecg"], "old and new modality are both ecg"),
    (["data@old=simulated"], "data@old=simulated cannot be used; give data=..., without @"),
    (["experiment=../config"], "unknown experiment=../config"),
    (["methods=null"], "methods=null cannot be used; give a list such as"),
    (["methods=bridge"], "methods=bridge cannot be used; give a list such as"),
    (["methods=[[bridge]]"], "methods=[[bridge]] cannot be used"),
    (["methods=[../bridge]"], "'../bridge' has no search space"),
    (["methods=[bridge,bridge]"], "methods: 'bridge' is given twice"),
    (["references=[bridge]"], "references: 'bridge' is searched; give it as one of methods"),
    (["references=[teacher,teacher]"], "references: 'teacher' is given twice"),
    (["method_options.bridge.rank=3"], "did you mean bridge.rank?"),
    (["majority.x=3"], "unknown option majority.x"),
    (["hydra.run.dir=x"], "unknown option hydra.run.dir"),
    # numbers
    (["seed=99999999999999999999999"], "at most 2147483647"),
    (["seed=" + "1" * 5000], "cannot read"),
    (["seed=nan"], "seed=nan cannot be used; give a whole number"),
    (["seed=true"], "seed=true cannot be used; give a whole number"),
    (["final.seeds=[99999999999999999999999]"], "whole numbers"),
    (["final.seeds=[0,0]"], "final.seeds: 0 is given twice"),
    (["bridge.prototypes=10000000000"], "at most 2147483647"),
    (["bridge.prototypes=1000000000"], "give a whole number of at least 1 and at most 100000"),
    (["bridge.epochs=99999999999999999999"], "bridge.epochs: 99999999999999999999 cannot be used"),
    (["bridge.learning_rate=1e300"], "give a number of at most 2147483647"),
    (["data.condition_seconds=1e300"], "give a number of at most 2147483647"),
    (["pretraining.steps=0"], "pretraining.steps=0 cannot be used"),
    (["data.split.train=1"], "give data.split more training subjects, or teacher.solver=adam"),
    (["data.split.train=100"], "the data set has 8; lower them"),
    # words that Hydra has a grammar for
    (["methods=" + "[" * 500 + "]" * 500], "cannot read"),
    (["methods=[bridge"], "cannot read"),
    (["seed=choice(1,2)"], "cannot read"),
    (["name=${{name}}"], "Recursive interpolation"),
    (["name=${{oc.env:NO_SUCH_VARIABLE}}"], "'NO_SUCH_VARIABLE' not found"),
    (["name=a\0b"], "cannot read 'name=a\\x00b'"),
    (["name=a\u202eb"], "cannot read 'name=a\\u202eb'"),
    (["séed=1"], "cannot read 'séed=1'"),
    ([""], "cannot read ''"),
    (["="], "unknown option"),
    (["--multirun"], "cannot read '--multirun'"),
]


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder of what is no folder."""
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [*WRONG, pytest.param(["device=cuda"], "device=cuda, but torch finds no GPU", marks=NO_GPU)],
)
def test_what_cannot_be_used_is_said_before_the_folder_is_claimed(words: list[str], said: str, strange: Path):
    words = [word.format(tmp=strange) for word in words]
    before = sorted(strange.rglob("*"))
    with pytest.raises(InputError) as error:
        run(configure([*SMALL, f"results={strange}/results", f"cache={strange}/cache", *words]))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 2100
    assert [path for path in sorted(strange.rglob("*")) if "cache" not in path.parts] == before


@pytest.mark.parametrize(
    "words",
    [
        ["seed=" + "1" * 5000],
        ["name=\udcff"],  # a byte that is no letter
        ["cache=" + "x" * 300],
        ["cluster.cpus=2", "cluster.cpus_per_trial=64"],
        [EXISTING, "cluster.address=127.0.0.1:9"],
    ],
)
def test_the_command_line_says_it_in_one_line_and_in_time(words: list[str], tmp_path: Path):
    command = [sys.executable, "-m", "benchmark", *SMALL, f"results={tmp_path}", f"cache={tmp_path}", *words]
    before = sum(os.times()[2:4])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)  # others may use the cores, too
    assert sum(os.times()[2:4]) - before < 15
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_too_little_memory_is_one_line(capsys: pytest.CaptureFixture[str]):
    def command() -> None:
        raise MemoryError("Unable to allocate 109. TiB")

    assert exit_code(command) == 1
    assert capsys.readouterr().err == (
        "error: out of memory: Unable to allocate 109. TiB; give it less to do, or more memory\n"
    )


def test_letters_of_all_languages_are_letters():
    """Hydra's grammar has those of ASCII."""
    config = configure(["name=Übung", "results=/home/müller/ergebnisse", "cache='/tmp/a b (é)'"])
    assert (config.name, config.results, config.cache) == ("Übung", "/home/müller/ergebnisse", "/tmp/a b (é)")


def test_a_gpu_is_asked_of_ray_where_trials_run_on_one():
    """Ray hides the GPUs from a process that asked for none."""
    assert configure(["device=cuda"]).cluster.gpus_per_trial == 1
    assert configure(["device=cuda", "cluster.gpus_per_trial=0.25"]).cluster.gpus_per_trial == 0.25
    assert configure([]).cluster.gpus_per_trial == 0
