"""Trials that only wait, with what they say of themselves. Nothing here takes long to import: every actor does."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from ray import tune

from benchmark.trial.folds import one_fold, summary

SHORTEST, LONGEST = 1.0, 3.0  # seconds


def fraction(*what: object) -> float:
    """In [0, 1), of these alone."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:8], "big") / 2**64


class WaitingTrial(tune.Trainable):
    """Sleeps as long as its number says, and scores what its options say. ``starting``: seconds that its actor takes to
    start beside what Ray takes, as one that imports torch does; each leaves a file in ``starts``."""

    def setup(self, config: dict[str, Any], scale: float = 1.0, starting: float = 0.0, starts: str = "") -> None:
        self.asked, self.scale = config, scale
        (Path(starts) / str(os.getpid())).touch()
        time.sleep(starting)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.asked = new_config
        return True

    def step(self) -> dict[str, Any]:
        begin = time.time()
        time.sleep(length(self.asked["study"], self.asked["number"]) * self.scale)
        options = json.dumps(self.asked["options"], sort_keys=True)
        score = fraction(options)
        curve = [(score, score, 0.0, None)]
        row = {"status": "done", "folds": one_fold(0, "done", curve), "inner_folds": 1, **summary([curve], 1)}
        about = {"begin": begin, "end": time.time(), "process": os.getpid(), "options": options}
        return {"score": score, "closeness": 0.0, "rows": [row], "done": True, **about}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing, as a run's trials."""


def length(study: str, number: int) -> float:
    """Seconds of a trial."""
    return SHORTEST + (LONGEST - SHORTEST) * fraction(study, number)
