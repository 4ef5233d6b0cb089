"""Where trials run, and what each of them asks for: the options of each kind of cluster."""

from typing import Literal

from pydantic import field_validator

from benchmark.config.options import Options, option

MOST_CORES = 1024  # of a machine; of processes and threads that are more than there is room for, it would choke
LEAST_SHARE = 0.0001  # of a core or GPU that Ray knows
MOST_MB = 2**24  # 16 TiB: what is more is a slip of the keyboard


class ClusterOptions(Options):
    """Where trials run, and what each of them asks for."""

    name: str = option("", "local: Ray starts on this machine and ends with the run | existing: it runs already")
    cpus_per_trial: float = option(1.0, "cores of a trial", ge=LEAST_SHARE)
    gpus_per_trial: float | None = option(
        None,
        "GPUs of a trial, or a fraction of one; null: 1 with device=cuda, else 0",
        accepts=f"a whole number, or a fraction of at least {LEAST_SHARE}",
        ge=0,
    )

    @field_validator("gpus_per_trial")
    @classmethod
    def _check_gpus(cls, gpus: float | None) -> float | None:
        if gpus is not None and ((gpus > 1 and gpus != int(gpus)) or 0 < gpus < LEAST_SHARE):
            raise ValueError(f"{gpus:g} cannot be used; give a whole number, or a fraction of at least {LEAST_SHARE}")
        return gpus


class LocalCluster(ClusterOptions):
    """A Ray of the run's own on this machine: nobody else's, and on loopback alone."""

    name: Literal["local"] = "local"
    cpus: int | None = option(None, "of cluster=local: how many cores Ray may use; null: all", ge=1, le=MOST_CORES)
    gpus: int | None = option(None, "of cluster=local: how many GPUs Ray may use; null: all", ge=0, le=MOST_CORES)
    object_store_mb: int = option(128, "of cluster=local: MiB of Ray's object store", ge=80, le=MOST_MB)


class ExistingCluster(ClusterOptions):
    """A Ray cluster that runs already, this machine being one of its nodes."""

    name: Literal["existing"] = "existing"
    address: str = option(
        "auto", "of cluster=existing; auto: the cluster that runs on this machine", accepts="host:port, or auto"
    )
    install: bool = option(
        False, "of cluster=existing: nodes install what the project needs, in the versions that are installed here"
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        host, _, port = address.rpartition(":")
        if address != "auto" and (not host or "/" in host or not port.isdecimal() or not 0 < int(port[:9]) < 2**16):
            raise ValueError(f"{address!r} cannot be used; give host:port of a Ray cluster's head, or auto")
        return address


CLUSTERS: dict[str, type[ClusterOptions]] = {"local": LocalCluster, "existing": ExistingCluster}
