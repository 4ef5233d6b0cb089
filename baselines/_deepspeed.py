"""A student's training on several processes, its workers, by DeepSpeed: what ZeRO shares out (Rajbhandari et al., 2020,
arXiv 1910.02054), bfloat16, gradients accumulated over parts of a batch, offload.

Each worker runs its share of a batch's windows through the student, and the loss is that of the whole batch, also where
it compares windows with each other. So what is trained is the same with any number of workers, but for rounding and the
random numbers of dropout. Where gradients are accumulated, batch normalisation takes the moments of a part of a batch,
and losses that compare all of its windows are refused.

The trial's process keeps the student as it was after each epoch, and DeepSpeed's checkpoint of it. Where a worker dies,
all of them are started again from there.
"""

import os
import socket
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from baselines._whole_batch import Moments, Step
from benchmark.cluster.team import Lost, Team, listening
from benchmark.config.schema import Config
from benchmark.data.splits import Split
from benchmark.errors import Notice
from benchmark.frozen.task import Task, open_task

if TYPE_CHECKING:
    from baselines._student import Student

STARTS = 3  # of the workers of a student, of which all but the first are again
TIMEOUT = timedelta(minutes=5)  # that workers wait for each other; within DeepSpeed it is PyTorch's default
TAG = "epoch"  # DeepSpeed's name of the one checkpoint in a folder

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Recipe:
    """What a process makes the same student of."""

    kind: "type[Student]"
    config: Config
    fold: int
    split: Split
    blind: bool
    calibration: str
    options: Any
    seed: int

    @classmethod
    def of(cls, kind: "type[Student]", task: Task, options: Any, seed: int) -> "Recipe":
        return cls(kind, task.config, task.fold, task.split, task.blind, task.calibration, options, seed)

    def student(self) -> "Student":
        task = open_task(self.config, self.fold).calibrated(self.calibration).on(self.split)
        return self.kind(task.unlabelled() if self.blind else task, self.options, self.seed)


@dataclass(frozen=True)
class Trained:
    """What an epoch came to in one worker."""

    loss: float
    """The sum over steps, the same in all workers."""
    steps: int
    seconds: float
    weights: Mapping[str, Tensor]
    """Of what is trained, and all buffers, by their names in ``Student.parts``; the first worker has them."""
    files: Files
    """Its part of DeepSpeed's checkpoint."""


class Workers:
    """The workers of a student, as the process of its trial sees them. They live from the first epoch to ``close``."""

    def __init__(self, recipe: Recipe):
        self.recipe, self.size = recipe, recipe.options.workers
        self.starts = self.epochs = 0
        self._checkpoint: dict[str, bytes] = {}
        self._team: Team | None = None
        self._closed = False

    def train_epoch(self, order: Tensor, wearers: Moments) -> Trained:
        """One pass over windows in this order; what the first worker has of it.

        Raises
        ------
        Lost
            Where workers died too often.
        """
        if self._closed:
            raise RuntimeError(f"the {self.size} workers of {self.recipe.kind.name} have ended")
        while True:
            try:
                self._team = self._team or self._started()
                found = self._team.call("train_epoch", order, wearers)
            except Lost as lost:
                self._team = None
                if self.starts == STARTS:
                    raise
                warnings.warn(
                    f"{self.recipe.kind.name}: a worker died in epoch {self.epochs + 1}; all {self.size} start again "
                    f"from the end of epoch {self.epochs} ({lost})",
                    Notice,
                    stacklevel=2,
                )
            else:
                self.epochs += 1
                self._checkpoint = {name: content for one in found for name, content in one.files.items()}
                return found[0]

    def _started(self) -> Team:
        self.starts += 1
        team = Team(self.size, self.recipe.config.cluster, Rank, self.recipe)
        address, *_ = team.call("listen", within=TIMEOUT.total_seconds())
        team.call("make")
        team.call("join", address, self._checkpoint)
        return team

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers."""
        files = self._checkpoint.items()
        tensors = {name: torch.frombuffer(bytearray(content), dtype=torch.uint8) for name, content in files}
        return {"epochs": self.epochs, "files": tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before the first epoch."""
        self.epochs = state["epochs"]
        self._checkpoint = {name: tensor.numpy().tobytes() for name, tensor in state["files"].items()}

    def close(self) -> None:
        self._closed = True
        if self._team is not None:
            self._team.close()
            self._team = None


class Rank:
    """One worker. It is called in step with the others; DeepSpeed is imported here alone."""

    def __init__(self, rank: int, size: int, recipe: Recipe):
        self.rank, self.size, self.recipe = rank, size, recipe

    def listen(self) -> tuple[str, int] | None:
        """Where the others find the first one."""
        self.socket = listening() if self.rank == 0 else None
        return self.socket.getsockname()[:2] if self.socket else None

    def make(self) -> None:
        """Make the student, for which a node that lacks its inputs computes them."""
        self.student = self.recipe.student()

    def join(self, address: tuple[str, int], checkpoint: Files) -> None:
        """Meet the others, and go on from a checkpoint, if there is any."""
        student = self.student
        on_gpu = student.task.device.type == "cuda"
        os.environ |= {"RANK": str(self.rank), "WORLD_SIZE": str(self.size), "LOCAL_RANK": "0"}  # each sees its own GPU
        os.environ.setdefault("DS_ACCELERATOR", student.task.device.type)
        if address[0].startswith("127."):
            loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
            os.environ["GLOO_SOCKET_IFNAME"] = loopback
        bound = self.socket.detach() if self.socket else None
        store = distributed.TCPStore(*address, self.size, self.rank == 0, TIMEOUT, master_listen_fd=bound)
        backend = "nccl" if on_gpu else "gloo"
        distributed.init_process_group(backend, timeout=TIMEOUT, world_size=self.size, rank=self.rank, store=store)
        import deepspeed

        if not on_gpu:  # else a C++ extension is compiled
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(backend, auto_mpi_discovery=False)
        self.gathered_parameters = deepspeed.zero.GatheredParameters
        self.step = Step(student, self.rank, self.size)
        self.engine, *_ = deepspeed.initialize(
            model=self.step,
            optimizer=student.optimizer,
            config=settings(self.recipe.options),
            dist_init_required=False,
        )
        if checkpoint:
            with TemporaryDirectory() as folder:
                for name, content in checkpoint.items():
                    file = Path(folder, name)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                found, _ = self.engine.load_checkpoint(folder, TAG, load_module_strict=False)
                assert found, "DeepSpeed does not find its own checkpoint"

    def train_epoch(self, order: Tensor, wearers: Moments) -> Trained:
        self.step.wearers = wearers
        student, accumulate = self.student, self.recipe.options.accumulate
        torch.manual_seed(self.recipe.seed + self.size * self.engine.global_steps + self.rank)  # of dropout
        for module in student.in_training:
            module.train()
        batches, total, begin = order.split(student.batch_size), 0.0, time.perf_counter()
        for rows in batches:
            for part in rows.tensor_split(accumulate):
                loss = self.engine(part if len(part) else rows[:1]) * (len(part) / len(rows))
                self.engine.backward(accumulate * loss)  # of which it takes the mean
                self.engine.step()
                total += loss.item()
        seconds = time.perf_counter() - begin
        return Trained(total, len(batches), seconds, self._weights(), self._files())

    def _weights(self) -> dict[str, Tensor]:
        parts = self.student.parts
        frozen = {name for name, p in parts.named_parameters() if not p.requires_grad}
        with self.gathered_parameters([p for p in parts.parameters() if p.requires_grad]):
            found = parts.state_dict() if self.rank == 0 else {}
            return {name: value.cpu().clone() for name, value in found.items() if name not in frozen}

    def _files(self) -> dict[str, bytes]:
        with TemporaryDirectory() as folder:
            self.engine.save_checkpoint(folder, TAG, save_latest=False, exclude_frozen_parameters=True)
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def settings(options: Any) -> dict[str, Any]:
    """DeepSpeed's configuration."""
    zero: dict[str, Any] = {"stage": options.zero}
    if options.offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        zero |= {"offload_param": {"device": "cpu"}} if options.zero == 3 else {}
    return {
        "train_micro_batch_size_per_gpu": 1,  # says nothing: batches are not its own
        "gradient_accumulation_steps": options.accumulate,
        "gradient_clipping": 0.0,  # else 1
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": {"enabled": options.bf16, "dtype": "bfloat16"},
    }
