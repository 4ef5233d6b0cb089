"""What this machine offers, and what a process took of it."""

import contextlib
import os
import resource
import sys
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmark.errors import InputError


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def built_for_gpus() -> bool:
    """Whether torch here is a build that computes on GPUs, if there are any."""
    return torch.version.cuda is not None or torch.version.hip is not None


def gpus() -> int:
    """GPUs that this process may use."""
    return torch.cuda.device_count()


def check_device(device: str) -> None:
    """InputError for a device that torch does not find here."""
    if device == "cuda" and not torch.cuda.is_available():
        build = torch.version.cuda or "for CPUs"
        raise InputError(f"device=cuda, but torch finds no GPU on this machine (its build is {build}); give device=cpu")


def use_threads(number: int) -> None:
    """Let torch, BLAS and OpenMP compute with so many threads in this process, whatever its environment says: sums in
    another order have other last digits."""
    torch.set_num_threads(number)
    threadpool_limits(number)


def computing(device: torch.device | str) -> dict[str, str | int]:
    """What a cache key says of how this process computes: its device and threads."""
    return {"device": torch.device(device).type, "threads": torch.get_num_threads()}


class PeakMemory:
    """Peak memory of this process, or of the GPU, since construction; where a system cannot say so, since its start."""

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with contextlib.suppress(OSError):  # Linux: a process that ran other trials starts its high-water mark anew
            Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        with contextlib.suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
