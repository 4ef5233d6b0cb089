"""One fold of one direction: what all its trials share, computed once and then found on disk.

task = Task(config, fold)   # data set, split; encoders, teacher and features when first asked for
"""

import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.common.progress import Progress, silent
from benchmark.common.store import Rows, Store
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows, Windows
from benchmark.data.splits import Split, development, inner_splits, splits_of
from benchmark.encoders.base import Encoder
from benchmark.frozen import calibration, teacher, weights
from benchmark.frozen.calibration import Population
from benchmark.frozen.features import Features
from benchmark.frozen.loading import load_data
from benchmark.frozen.weights import Kept, Side, options_of


class Task:
    """Data, split, both frozen encoders, the teacher and the stored features of one fold.

    Everything is read or computed when first asked for.
    """

    def __init__(self, config: Config, fold: int, progress: Progress = silent):
        self.config, self.fold, self.progress = config, fold, progress
        self.device = torch.device(config.device)
        self.data = load_data(config)
        self.split: Split = splits_of(self.data, config.data.split, config.seed)[fold]
        self.blind = False
        self.calibration = "none"
        self._populations: dict[tuple[Side, int], Population] = {}
        self._calibrated: dict[str, Task] = {}
        self.reads: dict[tuple[str, int], float] = {}
        """Seconds that computing took of what was read of the store: by what it is, and by subject."""
        self._features: dict[str, Features] = {}

    # -- windows and labels ---------------------------------------------------------------------------------------

    def windows(self, side: Side) -> Windows:
        return self.data.old if side == "old" else self.data.new

    def indices(self, *splits: str) -> np.ndarray:
        """The windows of these parts of the split, one part after the other."""
        return np.concatenate([getattr(self.split, split) for split in splits])

    def labels(self, split: str) -> np.ndarray:
        """True classes (N,): for teachers and references, and for the scores of the test split."""
        if self.blind:
            raise RuntimeError(f"a transfer method asked for the labels of {split}, which no transfer method may read")
        return self.data.label[self.indices(split)]

    def unlabelled(self) -> "Task":
        """The same task for a transfer method: any label that it asks for is an error."""
        _ = self.head, self.new  # shared, not computed again by the copy
        blind = copy.copy(self)
        blind.data, blind.blind = self._without_labels, True
        return blind

    def noting(self) -> "Task":
        """The same task with a note of its own of what is read."""
        _ = self.head, self.new
        mine = copy.copy(self)
        mine.reads = {}
        return mine

    def inner(self, fold: int, folds: int) -> "Task":
        """The same task where one of so many folds over the subjects of pair and val is val, and the others pair."""
        return self.on(inner_splits(self.split, self.data.subject, folds, self.config.seed)[fold])

    def development(self) -> "Task":
        """The same task where all windows of pair and val are pair."""
        return self.on(development(self.split))

    def on(self, split: Split) -> "Task":
        """The same frozen models on other windows."""
        _ = self.head, self.new
        other = copy.copy(self)
        other.split, other._populations, other._calibrated = split, {}, {}
        return other

    def calibrated(self, kind: str) -> "Task":
        """The same task with features that are standardised within each wearer, and a teacher's head on such ones."""
        if kind == self.calibration:
            return self
        if kind not in self._calibrated:
            _ = self.old, self.new
            other = copy.copy(self)
            other.calibration, other._populations = kind, {}
            other.__dict__["_teacher"] = self.old, other._calibrated_head()
            self._calibrated[kind] = other
        return self._calibrated[kind]

    @cached_property
    def _without_labels(self) -> PairedWindows:
        return replace(self.data, label=np.full_like(self.data.label, -1))

    @property
    def n_classes(self) -> int:
        return len(self.data.classes)

    # -- frozen models --------------------------------------------------------------------------------------------

    @cached_property
    def _pretrained_old(self) -> Encoder:
        return self._pretrained("old")

    @cached_property
    def new(self) -> Encoder:
        """The new modality's encoder."""
        return self._pretrained("new")

    @cached_property
    def _teacher(self) -> tuple[Encoder, nn.Linear]:
        kept, encoder, features = self.kept_teacher, self._pretrained_old, self._pretrained_features
        head = teacher.train(self.config, self.data, self.split, encoder, features, kept, self.progress)
        return encoder, head

    @cached_property
    def kept_teacher(self) -> Kept:
        """Where the teacher is kept, or will be; named by the encoder's weights before they are fine-tuned."""
        return teacher.kept_teacher(self.config, self.data, self.split, self._pretrained_old)

    @property
    def old(self) -> Encoder:
        """The teacher's encoder: as it was pre-trained, or fine-tuned."""
        return self._teacher[0] if self.config.teacher.training == "finetune" else self._pretrained_old

    @property
    def head(self) -> nn.Linear:
        """The teacher's linear head on the pooled last block."""
        return self._teacher[1]

    def _calibrated_head(self) -> nn.Linear:
        if not self.calibrates("old"):
            return self._teacher[1]
        kept = teacher.kept_head(self.config, self.data, self.split, self.old, self.calibration)
        label, subject = self.data.label[self.split.train], self.data.subject[self.split.train]

        def compute() -> dict[str, Tensor]:
            pooled = self.pooled("old", "train", self.old.n_blocks)
            options = self.config.teacher.model_copy(update={"training": "probe"})
            return teacher.fit_head(pooled, label, subject, self.n_classes, options, self.config.seed).state_dict()

        found = kept.tensors(compute)
        return teacher.linear(found["weight"].numpy(), found["bias"].numpy()).to(self.device)

    def encoder(self, side: Side) -> Encoder:
        return self.old if side == "old" else self.new

    def _pretrained(self, side: Side) -> Encoder:
        return weights.pretrained(self.config, self.data, self.split, side, self.progress)

    # -- features -------------------------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """How many windows a frozen encoder is given at once."""
        return self.config.features.batch_size or (8 if self.device.type == "cpu" else 64)

    def features(self, side: Side) -> Features:
        """Stored outputs of a side's frozen encoder, the old one's as the teacher has it."""
        if side not in self._features:
            self._features[side] = self._open_features(side, self.encoder(side))
        return self._features[side]

    @property
    def _pretrained_features(self) -> Features:
        """Of the old encoder before it is fine-tuned, which a probe reads; those of ``features`` where it never is."""
        if self.config.teacher.training != "finetune":
            return self.features("old")
        return self._open_features("old", self._pretrained_old)

    def _open_features(self, side: Side, encoder: Encoder) -> Features:
        store = Store(Path(self.config.cache) / "features", self.config.features.dtype)
        modality = options_of(self.config, side).modality
        return Features(store, self._without_labels, encoder, modality, self.batch_size, self.progress)

    def pooled(self, side: Side, split: str, block: int) -> Tensor:
        """(N, D): the mean over tokens of what ``block`` takes; ``block == n_blocks`` is the last output. Standardised
        within each wearer, where that is asked of the side, by his windows in all splits."""
        indices = windows = self.indices(split)
        if self.calibrates(side):
            windows = np.flatnonzero(np.isin(self.data.subject, self.data.subject[indices]))
        x = self.features(side).pooled(windows, block)
        self._note(side, "pooled", split)
        if not self.calibrates(side):
            return x
        found = self.within_wearers(x, windows, self.population(side, block))
        return found[torch.from_numpy(np.searchsorted(windows, indices))]

    def calibrates(self, side: Side) -> bool:
        """Whether a side's features are standardised within each wearer."""
        return self.calibration != "none" and self.config.wearer.sides in ("both", side)

    def population(self, side: Side, block: int) -> Population:
        """What is known of people's features there: of the old side from train, of the new one from pair."""
        if (side, block) not in self._populations:
            windows = self.split.train if side == "old" else self.split.pair
            x = self.features(side).pooled(windows, block)
            self._populations[side, block] = calibration.population_of(x, self.data.subject[windows])
        return self._populations[side, block]

    def within_wearers(self, x: Tensor, windows: np.ndarray, population: Population) -> Tensor:
        """Features (N, D) of these windows, standardised within each of their wearers by no other windows."""
        mean, deviation = self.wearers_moments(x, windows, population)
        return (x - mean) / deviation

    def wearers_moments(self, x: Tensor, windows: np.ndarray, population: Population) -> tuple[Tensor, Tensor]:
        """What ``within_wearers`` subtracts and divides by, (N, D) each."""
        return calibration.moments(x, windows, self.data, self.calibration, self.config.wearer, population)

    def first_seen(self, side: Side, block: int, x: Tensor) -> Tensor:
        """Features (N, D) that are of no wearer, or of one of whom nothing is known yet, in the units of ``pooled``."""
        return self.population(side, block)(x) if self.calibrates(side) else x

    def decide(self, pooled: Tensor) -> Tensor:
        """The head's logits (N, K) of pooled last outputs (N, D) that a bridge has made."""
        return self.head(self.first_seen("old", self.old.n_blocks, pooled))

    def last(self, split: str) -> Rows:
        """The teacher's last block output for the paired old windows, in the old model's layout.

        Mapped from disk as it is stored: move the windows that are used to the old model's device and precision.
        """
        found = self.features("old").last(self.indices(split))
        self._note("old", "last", split)
        return found

    def block_input(self, split: str, block: int) -> Rows:
        """What ``block`` of the old model takes for the paired old windows, token by token; mapped, as ``last`` is."""
        found = self.features("old").block_input(self.indices(split), block)
        self._note("old", "input", split, block=block)
        return found

    def prepared(self, *splits: str) -> Rows:
        """What the new encoder's ``embed`` takes for these windows: computed once, mapped, as ``last`` is."""
        found = self.features("new").prepared(self.indices(*splits))
        self._note("new", "prepared", *splits)
        return found

    def _note(self, side: Side, what: str, *splits: str, block: int | None = None) -> None:
        self.reads |= self.features(side).seconds(what, self.indices(*splits), block)

    def extraction(self) -> dict[str, float]:
        """Seconds that computing took of what was read, by what it is."""
        found: dict[str, float] = {}
        for (what, _), seconds in self.reads.items():
            found[what] = found.get(what, 0.0) + seconds
        return found

    def teacher_logits(self, split: str) -> Tensor:
        """(N, classes): what the teacher says of the paired old windows; its argmax is the pseudo-label."""
        return self.head(self.pooled("old", split, self.old.n_blocks))


MOST_OPEN = 2
_open: dict[tuple[str, int], Task] = {}


def open_task(config: Config, fold: int) -> Task:
    """The task of a fold; a process that runs many trials opens it once."""
    key = config.model_dump_json(), fold
    if key not in _open:
        while len(_open) >= MOST_OPEN:
            del _open[next(iter(_open))]
        _open[key] = Task(config, fold)
    return _open[key]
