"""What a user starts a cluster with: files for Slurm, for Ray's launcher and for KubeRay."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from benchmark.registry import configure
from tests.conftest import LIGHT
from tests.test_interrupted import MARK, processes

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "benchmark" / "cluster" / "launch"
RAY = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_rays_launcher_takes_the_file():
    config = yaml.safe_load((LAUNCH / "ray_up.yaml").read_text())
    jsonschema.validate(config, json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text()))
    whole = prepare_config(config)
    validate_config(whole)
    assert whole["available_node_types"]["local.cluster.node"]["min_workers"] == len(config["provider"]["worker_ips"])


# Of the fields of KubeRay's custom resources those that the files use; Kubernetes leaves what is unknown to it out.
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}


def fields(needed: str, others: str = "", **types: Any) -> dict[str, Any]:
    """The schema of an object that has these fields, and no others."""
    properties = {name: types.get(name, {"type": "string"}) for name in (needed + " " + others).split()}
    return {"type": "object", "required": needed.split(), "additionalProperties": False, "properties": properties}


def a_list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": of}


TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
AMOUNTS = fields("cpu memory", "nvidia.com/gpu", cpu=COUNT, **{"nvidia.com/gpu": COUNT})
CONTAINER = fields(
    "name image resources",
    "volumeMounts env",
    resources=fields("limits requests", limits=AMOUNTS, requests=AMOUNTS),
    volumeMounts=a_list(fields("name mountPath")),
)
VOLUME = fields("name persistentVolumeClaim", persistentVolumeClaim=fields("claimName"))
POD = fields("spec", spec=fields("containers", "volumes", containers=a_list(CONTAINER), volumes=a_list(VOLUME)))
CLUSTER = fields(
    "rayVersion headGroupSpec workerGroupSpecs",
    headGroupSpec=fields("rayStartParams template", rayStartParams=TEXTS, template=POD),
    workerGroupSpecs=a_list(
        fields(
            "groupName replicas minReplicas maxReplicas rayStartParams template",
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)
JOB = fields(
    "entrypoint rayClusterSpec",
    "shutdownAfterJobFinishes ttlSecondsAfterFinished",
    rayClusterSpec=CLUSTER,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
)


@pytest.mark.parametrize(
    ("name", "kind", "spec", "metadata"),
    [("raycluster", "RayCluster", CLUSTER, "name"), ("rayjob", "RayJob", JOB, "generateName")],
)
def test_kuberays_operator_takes_the_files(name: str, kind: str, spec: dict[str, Any], metadata: str):
    found = yaml.safe_load((LAUNCH / f"{name}.yaml").read_text())
    head = fields(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=fields(metadata),
        spec=spec,
    )
    jsonschema.validate(found, head)
    cluster = found["spec"].get("rayClusterSpec", found["spec"])
    assert cluster == yaml.safe_load((LAUNCH / "raycluster.yaml").read_text())["spec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert RAY
    assert cluster["rayVersion"] == RAY[1]
    assert f"rayproject/ray:{RAY[1]}-" in (LAUNCH / "Dockerfile").read_text()


@pytest.mark.parametrize("page", [*LAUNCH.iterdir(), ROOT / "docs" / "cluster.md"], ids=lambda page: page.name)
def test_commands_are_those_of_the_project(page: Path):
    """Their words are a configuration, and their files are there."""
    text = re.sub(r"\\\n#?", "", page.read_text())
    commands = re.findall(r"(?:python -m benchmark|ARGS=\"|slurm\.sh)((?: *[\w.@]+=[^\s\"`]+)+)", text)
    for words in commands:
        assert configure(words.split())
    for file in re.findall(r"benchmark/cluster/launch/[\w.]+", text):
        assert (ROOT / file).is_file()
    assert len(commands) >= {"cluster.md": 3, "Dockerfile": 0}.get(page.name, 1)


FAKES = {
    "scontrol": "printf 'one\\ntwo\\n'",
    "srun": 'echo "$*" >> "$SRUN_LOG"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
}


@pytest.mark.parametrize("runs", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_slurm_job_is_a_cluster_of_its_nodes(runs: bool, tmp_path: Path):
    """Slurm's own commands are stand-ins that start both nodes here; the cluster and the run are real."""
    for name, text in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "srun.log"
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SRUN_LOG": str(log),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "1",
        "PYTHON": sys.executable,
        MARK: str(tmp_path),
    }
    words = ["methods=[ridge]", "references=[majority]", "search.trials=2", "final.seeds=[0]", "name=run"]
    words += [] if runs else ["--plan"]
    done = subprocess.run(
        ["bash", LAUNCH / "slurm.sh", *LIGHT, *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of this will work." in done.stdout
    assert "Room for 2 trials at once: 2 cores on 2 nodes, 1 core each." in done.stdout
    asked = [line.partition(" --nodelist=")[2].split(maxsplit=1) for line in log.read_text().splitlines()]
    first, *nodes = [(node, " start --head " in command) for node, command in asked]
    assert (first, sorted(nodes)) == (("one", False), [("one", True), ("two", False)])  # which start side by side
    if runs:
        rows = pl.read_parquet(tmp_path / "results" / "run" / "trials.parquet")
        assert rows["status"].unique().to_list() == ["done"]
    assert not processes(str(tmp_path))
