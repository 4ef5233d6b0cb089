"""A run's own Ray: nobody else's, and out of reach from other machines. A cluster that is joined: it answers, has room,
and needs no checkout of the project."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

import benchmark
from benchmark.__main__ import main
from benchmark.cluster.check import Seen, problems
from benchmark.cluster.nodes import nodes_of
from benchmark.cluster.resources import Node, at_once, check_room, room, trial_resources
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.cluster.travel import requirements, runtime_env
from benchmark.config.cluster import ExistingCluster, LocalCluster
from benchmark.errors import InputError
from tests.test_interrupted import MARK, at_work, processes

OPTIONS = LocalCluster(cpus=2)
SMALL_NODE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}


def loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_all_of_it_listens_on_loopback_alone():
    with session(OPTIONS):
        ray.get([ray.remote(loopback).remote("127.0.0.1") for _ in range(4)])  # workers listen, too
        driver = psutil.Process()
        listening = {
            (process.name(), socket.laddr.ip)
            for process in (driver, *driver.children(recursive=True))
            for socket in process.net_connections()
            if socket.status == psutil.CONN_LISTEN
        }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert [found for found in sorted(listening) if not loopback(found[1])] == []


def test_it_is_not_another_cluster_of_this_machine(monkeypatch: pytest.MonkeyPatch):
    other = Cluster(initialize_head=True, head_node_args=SMALL_NODE)
    try:
        monkeypatch.setenv("RAY_ADDRESS", other.address)
        with session(OPTIONS):
            assert ray.cluster_resources()["CPU"] == 2
        with session(ExistingCluster(address=other.address)):
            assert ray.cluster_resources()["CPU"] == 1
    finally:
        other.shutdown()


# -- what there is room for -------------------------------------------------------------------------------------------

NODES: list[Node] = [{"CPU": 16, "GPU": 0}, {"CPU": 2, "GPU": 2}]


@pytest.mark.parametrize(
    ("cores", "gpus", "trials", "said"),
    [
        (1, 0, 18, "Room for 18 trials at once: 18 cores and 2 GPUs on 2 nodes, 1 core each."),
        (3, 0, 5, "3 cores each."),  # none on the node of two
        (1, 1, 2, "1 core and 1 GPU each."),
        (0.1, 0.3, 6, "0.1 cores and 0.3 GPUs each."),  # a GPU has room for three, and no trial has parts of two
        (0.1, 0.1, 20, "0.1 GPUs each."),  # ten tenths are one
        (4, 1, 0, "no node of the cluster has both"),
        (17, 0, 0, "cluster.cpus_per_trial=17 asks for more than a node of the cluster has (16)"),
        (1, 3, 0, "cluster.gpus_per_trial=3 asks for more than a node of the cluster has (2)"),
    ],
)
def test_trials_are_counted_by_node(cores: float, gpus: float, trials: int, said: str):
    options = LocalCluster(cpus_per_trial=cores, gpus_per_trial=gpus)
    assert at_once(trial_resources(options), NODES) == trials
    if trials:
        check_room(options, {}, NODES)
        assert said in room(options, NODES)
    else:
        with pytest.raises(InputError) as error:
            check_room(options, {}, NODES)
        assert said in str(error.value)


def _gpus(progress: Any) -> tuple[str, float]:
    """The GPUs that a process sees, and how much of them is its own."""
    return os.environ["CUDA_VISIBLE_DEVICES"], ray.get_runtime_context().get_assigned_resources()["GPU"]


def test_a_trial_sees_one_gpu_which_is_its_cuda_0(monkeypatch: pytest.MonkeyPatch):
    """Torch counts from 0 what CUDA_VISIBLE_DEVICES lists."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    whole, half = (LocalCluster(cpus=2, gpus=2, gpus_per_trial=share) for share in (1, 0.5))
    found: list[tuple[str, float]] = []
    with session(whole) as nodes:
        assert at_once(trial_resources(whole), nodes) == 2
        for options in (whole, half):
            run_jobs([Job(str(k), _gpus, ()) for k in range(3)], options, "", lambda _, seen: found.append(seen))
    assert {devices for devices, _ in found} <= {"0", "1"}
    assert [own for _, own in found] == [1, 1, 1, 0.5, 0.5, 0.5]


# -- a cluster that is joined -----------------------------------------------------------------------------------------


@pytest.fixture
def mute() -> Iterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("0.0.0.0", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_one_that_says_nothing_is_one_line(mute: str):
    begin = time.monotonic()
    with (
        pytest.raises(InputError, match=f"no Ray cluster answers at cluster.address={mute} .nothing came for"),
        session(ExistingCluster(address=mute)),
    ):
        pass
    assert time.monotonic() - begin < 15


def test_ctrl_c_is_obeyed_while_none_answers(mute: str, tmp_path: Path):
    words = ["cluster=existing", f"cluster.address={mute}", f"results={tmp_path}", f"cache={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mute},
        start_new_session=True,
    )
    while process.poll() is None and not at_work(psutil.Process(process.pid), "answers.py"):
        time.sleep(0.02)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert process.returncode == 130
    assert said == "\nStopped before the run began.\n"
    assert not list(tmp_path.iterdir())
    assert not processes(mute)


def test_its_nodes_need_no_checkout_and_work_in_the_drivers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def here(progress: Any) -> tuple[str, str]:  # in this function, so that it travels as a whole
        import benchmark

        return os.getcwd(), benchmark.__file__

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    cluster = Cluster(initialize_head=True, head_node_args={**SMALL_NODE, "num_cpus": 0})
    try:
        cluster.add_node(**SMALL_NODE)
        monkeypatch.chdir(tmp_path / "here")
        options = ExistingCluster(address=cluster.address)
        assert [node.get("CPU", 0) for node in nodes_of(options)] in ([0, 1], [1, 0])
        found: list[tuple[str, str]] = []
        with session(options):
            run_jobs([Job("where", here, ())], options, "", lambda _, seen: found.append(seen))
    finally:
        cluster.shutdown()
    ((folder, module),) = found
    assert folder == str(tmp_path / "here")
    assert module != benchmark.__file__
    assert Path(module).parts[-4] == "py_modules_files"


HERE = {"Python": "3.11.7", "torch": "2.13.0+cpu"}
FINE = Seen(HERE, {"cache": True, "results": True, "data.root": True}, 50.0)


@pytest.mark.parametrize(
    ("asked", "second", "said"),
    [
        ({}, FINE, []),
        ({}, replace(FINE, versions={**HERE, "torch": "2.13.0"}), []),  # another build of the same
        ({}, replace(FINE, sees={**FINE.sees, "results": False}), []),  # the driver alone writes to it
        ({"cpus_per_trial": 2}, replace(FINE, sees=dict.fromkeys(FINE.sees, False)), []),  # no trial runs there
        ({}, replace(FINE, versions={**HERE, "torch": "2.12.1"}), ["torch is 2.13.0+cpu here, 2.12.1 on b; install"]),
        ({}, replace(FINE, sees=dict.fromkeys(FINE.sees, False)), []),  # what it lacks comes from where it is
        ({}, replace(FINE, free=0.25), ["cache=/c has 0.25 GiB left on b"]),
        ({}, replace(FINE, lacks_gpu_build=True), ["torch 2.13.0+cpu on b is built for no GPU"]),
        ({}, "no answer within 60 s", ["b runs nothing: no answer within 60 s"]),
        ({"cpus_per_trial": 9}, FINE, ["cluster.cpus_per_trial=9 asks for more than a node of the cluster has (4)"]),
    ],
)
def test_what_will_not_work_is_said_a_line_each(asked: dict[str, Any], second: Seen | str, said: list[str]):
    folders = {"cache": "/c", "results": "/r", "data.root": "/d"}
    nodes: dict[str, Node] = {"a": {"CPU": 4}, "b": {"CPU": 1}}
    found = list(problems(ExistingCluster(**asked), {}, folders, nodes, {"a": FINE, "b": second}, FINE))
    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert words in line


def test_a_check_reads_every_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Two nodes that share all but the versions: the second one has another polars before it."""
    other = tmp_path / "other" / "polars-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: polars\nVersion: 0.0.1\n")
    cluster = Cluster(initialize_head=True, head_node_args=SMALL_NODE)
    try:
        cluster.add_node(**SMALL_NODE, env_vars={"PYTHONPATH": str(other.parent)})
        where = ["cluster=existing", f"cluster.address={cluster.address}", f"results={tmp_path}/results"]
        words = [*where, f"cache={tmp_path}/cache", "--cluster-check"]
        code = main(words)
    finally:
        cluster.shutdown()
    table, _, said = capsys.readouterr().out.partition("\n\n")
    head, *rows = (line.split() for line in table.splitlines())
    assert head[0] == "node"
    assert [row[head.index("trials") + 1] for row in rows] == ["1", "1"]
    assert all(row[-2:] == ["yes", "yes"] for row in rows)
    assert sorted(row[-3] for row in rows) == ["0.0.1", metadata.version("polars")]
    assert said.startswith(f"polars is {metadata.version('polars')} here, 0.0.1 on ")
    assert said.count("\n") == 1
    assert code == 1
    assert not list(tmp_path.glob(".cluster-check-*"))


def test_what_nodes_install_is_what_is_installed_here():
    pinned = dict(word.split("==") for word in requirements())
    assert pinned["ray[tune]"] == metadata.version("ray")
    assert pinned["torch"] == metadata.version("torch").partition("+")[0]
    assert not {"pytest", "mypy", "ruff"} & set(pinned)
    assert "pip" not in runtime_env(install=False)
    assert runtime_env(install=True)["pip"] == requirements()
