"""What a run has yet to prepare, piece by piece behind the same searcher as its trials: a fold is searched as soon as
all of its own is there, on the actors that prepared it, while others are still prepared."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark import registry
from benchmark.config.schema import Config
from benchmark.frozen.prepare import Piece
from benchmark.search.item import Item


class Preparation:
    """Asked with ``next`` for what a fold has use for, and nobody does yet."""

    def __init__(self, pieces: Sequence[Piece] = ()):
        self.pieces = {piece.job.name: piece for piece in pieces}
        self._waiting, self._done = [*pieces], set[str]()
        self.folds = sorted({fold for piece in pieces for fold in piece.folds})
        self.saved = 0.0
        """Seconds of earlier work that was found done."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask for."""
        return not self._waiting

    @property
    def over(self) -> bool:
        """Whether all of it is done."""
        return len(self._done) == len(self.pieces)

    def ready(self, fold: int) -> bool:
        """Whether trials of a fold find all that they read."""
        return self.over or all(name in self._done for name, piece in self.pieces.items() if fold in piece.folds)

    def next(self, fold: int) -> Item | None:
        """What to do next for a fold; None where nothing is left, or what runs must be done first."""
        for piece in self._waiting:
            if fold in piece.folds and piece.after <= self._done:
                self._waiting.remove(piece)
                return self._item(piece)
        return None

    def _item(self, piece: Piece) -> Item:
        """One that fails ends the run, by whoever hears of it first."""

        def tell(rows: Sequence[Mapping[str, Any]]) -> None:
            self._done.add(piece.job.name)
            self.saved += rows[0]["saved"]

        config = {"piece": piece.job.name, "workers": piece.job.workers}
        return Item(piece.job.name, config, tell, lambda: None, lambda: self._waiting.insert(0, piece))


def reads_last_tokens(config: Config) -> bool:
    """Whether a method reads the teacher's last output token by token, so that one pass keeps that too."""
    return any(
        registry.get(name).reads_last_tokens(config.method_options[name])
        for name in [*config.methods, *config.references]
    )
