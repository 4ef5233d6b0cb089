"""One fold of one direction: what all its trials share, computed once and then found on disk.

task = Task(config, fold)   # data set, split; encoders, teacher and features when first asked for
"""

import copy
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from benchmark import features
from benchmark.encoders import pretraining as pretrain
from benchmark.frozen import teacher
from benchmark.cache import Progress, array_digest, digest, silent, source_digest, whole
from benchmark.data import cache as dataset_cache
from benchmark.data import registry as datasets
from benchmark.data.base import PairedWindows, Windows
from benchmark.encoders import base, registry
from benchmark.encoders.base import Encoder
from benchmark.features import Features, Store, passes
from benchmark.features.store import Compute
from benchmark.data.splits import Split, splits_of

Side = Literal["old", "new"]
SPLITS = ("train", "val", "pair", "test")


def load_data(config: Mapping[str, Any], progress: bool = False) -> PairedWindows:
    """The data set of a configuration, from its cache if it was read before."""
    dataset = datasets.build(config["data"]["name"], config["data"])
    cache = Path(config["cache"]) / "data"
    return dataset_cache.load(dataset, config["old"]["modality"], config["new"]["modality"], cache, progress)


class Task:
    """Data, split, both frozen encoders, the teacher and the stored features of one fold.

    Everything is read or computed when first asked for. ``saved`` counts the seconds that an earlier computation saved.
    """

    def __init__(self, config: Mapping[str, Any], fold: int, progress: Progress = silent):
        self.config, self.fold, self.progress = config, fold, progress
        self.device = torch.device(config["device"])
        self.data = load_data(config)
        self.splits = splits_of(self.data, config["data"]["split"], config["seed"])
        self.split: Split = self.splits[fold]
        self.cache = Path(config["cache"])
        self.store = Store(self.cache / "features", config["features"]["dtype"])
        self.saved = 0.0
        self.blind = False
        self._entries: dict[tuple[str, ...], Features] = {}
        self._digests: dict[Side, str] = {}

    # -- windows and labels ---------------------------------------------------------------------------------------

    def windows(self, side: Side) -> Windows:
        return self.data.old if side == "old" else self.data.new

    def indices(self, split: str) -> np.ndarray:
        return getattr(self.split, split)

    def labels(self, split: str) -> np.ndarray:
        """True classes (N,): for teachers and references, and for the scores of the test split."""
        if self.blind:
            raise RuntimeError(f"a transfer method asked for the labels of {split}, which no transfer method may read")
        return self.data.label[self.indices(split)]

    def unlabelled(self) -> "Task":
        """The same task for a transfer method: any label that it asks for is an error."""
        _ = self.old, self.new  # shared, not computed again by the copy
        blind = copy.copy(self)
        blind.data = replace(self.data, label=np.full_like(self.data.label, -1))
        blind.blind = True
        return blind

    @property
    def n_classes(self) -> int:
        return len(self.data.classes)

    # -- frozen models --------------------------------------------------------------------------------------------

    def pretrained(self, side: Side) -> Encoder:
        """The frozen encoder of one side, with the weights that the configuration asks for."""
        chosen, spec = self.config[side], self.windows(side).spec
        weights = chosen["weights"]
        if weights == "local":
            weights = self._local_weights(side)
        encoder = registry.build(
            chosen["name"], spec, preset=chosen["preset"], weights=weights, seed=self.config["seed"], device=self.device
        )
        return encoder.freeze()

    def _local_weights(self, side: Side) -> Path:
        """Weights from self-supervised training on the unlabelled windows of train and pair."""
        chosen, spec = self.config[side], self.windows(side).spec
        indices = np.union1d(self.split.train, self.split.pair)
        options = self.config["pretraining"]
        key = {
            "what": "local weights",
            "encoder": chosen["name"],
            "preset": chosen["preset"],
            "data": self.data.fingerprint,
            "side": side,
            "windows": array_digest(indices),
            "options": options,
            "seed": self.config["seed"],
            "code": source_digest(pretrain, base, _module(chosen["name"])),
            "torch": torch.__version__,
        }
        path = self.cache / "weights" / f"{digest(key)}.safetensors"
        if path.exists():
            self.saved += seconds_of(path)
            return path
        begin = time.perf_counter()
        encoder = registry.build(
            chosen["name"],
            spec,
            preset=chosen["preset"],
            weights="random",
            seed=self.config["seed"],
            device=self.device,
        )
        windows = self.windows(side).take(indices)
        pretrain.pretrain(encoder, windows, options, self.config["seed"], self.progress)
        save_tensors(path, encoder.state_dict(), time.perf_counter() - begin)
        return path

    @cached_property
    def new(self) -> Encoder:
        return self.pretrained("new")

    @cached_property
    def _teacher(self) -> tuple[Encoder, nn.Linear]:
        options, seed = self.config["teacher"], self.config["seed"]
        encoder = self.pretrained("old")
        key = {
            "what": "teacher",
            "encoder": encoder.fingerprint(),
            "data": self.data.fingerprint,
            "windows": array_digest(self.split.train),
            "options": options,
            "features": self.store.dtype,
            "seed": seed,
            "code": source_digest(teacher, base, _module(encoder.name)),
        }
        path = self.cache / "teachers" / f"{digest(key)}.safetensors"
        width = encoder.shape_at(encoder.n_blocks)[1]
        head = teacher.new_head(width, self.n_classes, seed).to(self.device)
        if path.exists():
            self.saved += seconds_of(path)
        else:
            begin = time.perf_counter()
            if options["training"] == "finetune":
                windows, labels = self.windows("old"), self.labels("train")
                teacher.finetune(encoder, head, windows, self.split.train, labels, options, seed, self.progress)
            else:
                pooled = self._pass("old", encoder, "train")[f"pooled/{encoder.n_blocks}"].to(encoder.dtype)
                subject = self.data.subject[self.split.train]
                head = teacher.fit_head(pooled, self.labels("train"), subject, self.n_classes, options, seed)
            state = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
            if options["training"] == "finetune":
                state |= {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
            save_tensors(path, state, time.perf_counter() - begin)
        state = safetensors.torch.load_file(str(path))
        head.load_state_dict({name[5:]: tensor for name, tensor in state.items() if name.startswith("head.")})
        if options["training"] == "finetune":
            encoder.load_state_dict({name[8:]: tensor for name, tensor in state.items() if name.startswith("encoder.")})
        return encoder.freeze(), head.to(self.device).requires_grad_(False)

    @property
    def old(self) -> Encoder:
        return self._teacher[0]

    @property
    def head(self) -> nn.Linear:
        """The teacher's linear head on the pooled last block."""
        return self._teacher[1]

    def encoder(self, side: Side) -> Encoder:
        return self.old if side == "old" else self.new

    # -- features -------------------------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """How many windows a frozen encoder is given at once."""
        return self.config["features"]["batch_size"] or (8 if self.device.type == "cpu" else 64)

    def pooled(self, side: Side, split: str, block: int) -> Tensor:
        """(N, D): the mean over tokens of what ``block`` takes; ``block == n_blocks`` is the last output."""
        encoder = self.encoder(side)
        return self._pass(side, encoder, split)[f"pooled/{block}"].to(self.device, encoder.dtype)

    def last(self, split: str) -> Tensor:
        """The teacher's last block output for the paired old windows, in the old model's layout.

        Mapped from disk as it is stored: move the windows that are used to the old model's device and precision.
        """
        return self._pass("old", self.old, split)["last"]

    def block_input(self, split: str, block: int) -> Tensor:
        """What ``block`` of the old model takes for the paired old windows, token by token; mapped, as ``last`` is."""
        encoder, indices = self.old, self.indices(split)
        key = {**self._key("old", encoder, split), "what": "input", "block": block}
        return self._get(
            ("input", split, str(block)),
            key,
            len(indices),
            lambda begin: features.block_inputs(
                encoder,
                self.windows("old"),
                indices,
                block,
                batch_size=self.batch_size,
                begin=begin,
                progress=self.progress,
            ),
        )["input"]

    def teacher_logits(self, split: str) -> Tensor:
        """(N, classes): what the teacher says of the paired old windows; its argmax is the pseudo-label."""
        return self.head(self.pooled("old", split, self.old.n_blocks))

    def compute(self, side: Side) -> None:
        """Run one side's encoder over every split it is needed on, unless that was done before."""
        for split in SPLITS:
            self._pass(side, self.encoder(side), split)

    def _pass(self, side: Side, encoder: Encoder, split: str) -> Features:
        indices = self.indices(split)
        last = side == "old" and split in ("val", "pair")
        return self._get(
            (side, split),
            {**self._key(side, encoder, split), "what": "pass", "last": last},
            len(indices),
            lambda begin: features.one_pass(
                encoder,
                self.windows(side),
                indices,
                last=last,
                batch_size=self.batch_size,
                begin=begin,
                progress=self.progress,
            ),
        )

    def _key(self, side: Side, encoder: Encoder, split: str) -> dict[str, Any]:
        return {
            "dataset": self.data.dataset,
            "data": self.data.fingerprint,
            "side": side,
            "split": split,
            "windows": array_digest(self.indices(split)),
            "encoder": encoder.name,
            "preset": encoder.preset,
            "weights": self._weights(side, encoder),
            "code": source_digest(passes, base, _module(encoder.name)),
            "torch": torch.__version__,
        }

    def _weights(self, side: Side, encoder: Encoder) -> str:
        # A fine-tuned teacher's features are asked for only after it was trained, so once is enough.
        if side not in self._digests:
            self._digests[side] = encoder.fingerprint()
        return self._digests[side]

    def _get(self, name: tuple[str, ...], key: Mapping[str, Any], n: int, compute: Compute) -> Features:
        if name not in self._entries:
            entry, found = self.store.get(key, n, compute)
            self._entries[name] = entry
            self.saved += entry.seconds if found else 0.0
        return self._entries[name]


def save_tensors(path: Path, state: Mapping[str, Tensor], seconds: float) -> None:
    """Write tensors whole, with the seconds that computing them took."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with whole(path) as temporary:
        safetensors.torch.save_file(state, str(temporary), metadata={"seconds": f"{seconds:.3f}"})


def seconds_of(path: Path) -> float:
    """What computing a file of ``save_tensors`` took."""
    with safetensors.safe_open(str(path), "pt") as opened:
        return float(opened.metadata()["seconds"])


def _module(encoder: str) -> ModuleType:
    return sys.modules[registry.encoder_class(encoder).__module__]
