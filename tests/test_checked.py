"""All of a configuration is checked before anything is written: one line, and no folder of a run."""

from pathlib import Path

import pytest
import torch

from benchmark.errors import InputError
from benchmark.registry import configure
from benchmark.run import run
from tests.conftest import SMALL

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["device=gpu"], "device=gpu cannot be used; give cpu or cuda"),
        (["device=cuda:1"], "CUDA_VISIBLE_DEVICES"),
        pytest.param(["device=cuda"], "device=cuda, but torch finds no GPU", marks=NO_GPU),
        (["device=cuda", "cluster.gpus_per_trial=0"], "device=cuda needs a GPU a trial"),
        (["cluster.gpus_per_trial=-3"], "give a number of at least 0"),
        pytest.param(["cluster.gpus_per_trial=1"], "cluster.gpus_per_trial=1 asks for more than", marks=NO_GPU),
        (["cluster.cpus=1", "cluster.cpus_per_trial=64"], "cluster.cpus_per_trial=64 asks for more than"),
        (["cluster.cpus=2", "kd_logits.workers=3"], "the cluster has room for 2: give at most as many"),
        (["cluster.cpus=0"], "cluster.cpus=0 cannot be used; give a whole number of at least 1"),
        (["cluster.address=127.0.0.1:9"], "no Ray cluster answers at cluster.address=127.0.0.1:9"),
        (["cluster.address=banana"], "cluster.address=banana cannot be used"),
        (["old.weights=/no/such.safetensors"], "/no/such.safetensors: does not exist"),
        (["new.weights=released"], "there are no released weights for papagei tiny"),
        (["pretraining.steps=0"], "pretraining.steps=0 cannot be used"),
        (["data.split.train=1"], "give data.split more training subjects, or teacher.solver=adam"),
        (["seed=99999999999999999999999"], "at most 2147483647"),
        (["final.seeds=[99999999999999999999999]"], "whole numbers"),
        (["final.seeds=[0,0]"], "final.seeds: 0 is given twice"),
        (["methods=[bridge,bridge]"], "methods: 'bridge' is given twice"),
        (["references=[bridge]"], "references: 'bridge' is searched; give it as one of methods"),
        (["references=[teacher,teacher]"], "references: 'teacher' is given twice"),
        (["results=/proc/nothing"], "results=/proc/nothing cannot be written to"),
        (["cache=/proc/nothing"], "cache=/proc/nothing cannot be written to"),
        (["results={file}"], "cannot be written to (it is a file)"),
        (["cache={file}"], "cannot be written to (it is a file)"),
        ([f"name={'x' * 300}"], "give a folder name of at most 200 bytes"),
        (["bridge.prototypes=10000000000"], "give a whole number of at least 1 and at most 100000"),
    ],
)
def test_what_cannot_be_used_is_said_before_the_folder_is_claimed(words, said, tmp_path: Path):
    (tmp_path / "file").write_text("")
    words = [word.format(file=tmp_path / "file") for word in words]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as error:
        run(configure([*SMALL, f"results={tmp_path}/results", f"cache={tmp_path}/cache", *words]))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before


def test_a_gpu_is_asked_of_ray_where_trials_run_on_one():
    """Ray hides the GPUs from a process that asked for none."""
    assert configure(["device=cuda"]).cluster.gpus_per_trial == 1
    assert configure(["device=cuda", "cluster.gpus_per_trial=0.25"]).cluster.gpus_per_trial == 0.25
    assert configure([]).cluster.gpus_per_trial == 0
