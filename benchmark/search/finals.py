"""The final trials of a run: each is asked for once what its study chose is known, a reference's at once."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmark.config.schema import Config
from benchmark.plan import Final, Spec
from benchmark.results.recorder import Recorder
from benchmark.search.choice import Row, Unchosen, best_of, spec_of
from benchmark.search.item import Item
from benchmark.search.studies import SearchStudy
from benchmark.trial.trial import failed_row


class FinalTrials:
    """Asked with ``next`` for what has no row yet. Where no trial of a study is done, its final trials are rows that
    say so."""

    def __init__(
        self, config: Config, finals: Sequence[Final], studies: Sequence[SearchStudy], dataset: str, recorder: Recorder
    ):
        self.config, self.dataset, self.recorder = config, dataset, recorder
        self._studies = {study.name: study for study in studies}
        self._chosen: dict[str, Row | Unchosen] = {}
        done = {name for name, row in recorder.rows.items() if row["stage"] == "final" and row["status"] != "failed"}
        self._waiting = deque(final for final in finals if final.trial_id not in done)
        self._lost = deque[Item]()
        self.total, self.known = len(finals), len(finals) - len(self._waiting)
        self.workers = {config.method_options[final.method].processes for final in finals}
        """Processes that each of them trains with."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to ask for."""
        return not self._waiting and not self._lost

    @property
    def folds(self) -> set[int]:
        """Those that have final trials without a row."""
        return {final.fold for final in self._waiting}

    def next(self, ready: Callable[[int], bool] = lambda fold: True) -> Item | None:
        """What to train and test next, of folds that are ready; None where nothing is left, or what it depends on is
        not known."""
        if self._lost:
            return self._lost.popleft()
        for _ in range(len(self._waiting)):
            final = self._waiting.popleft()
            if not ready(final.fold):
                self._waiting.append(final)
            elif final.study is None:
                return self._item(spec_of(self.config, final, None))
            elif self._studies[final.study.name].over:
                if (found := self._choice(final)) is not None:
                    return self._item(spec_of(self.config, final, found))
            else:
                self._waiting.append(final)
        return None

    def _item(self, spec: Spec) -> Item:
        """Its row is recorded by whoever hears of it; what was lost is asked for again before anything else."""
        workers = self.config.method_options[spec.method].processes
        config = {"final": asdict(spec), "workers": workers}
        item = Item(spec.trial_id, config, lambda rows: None, lambda: None, lambda: self._lost.append(item))
        return item

    def unchosen(self) -> list[Unchosen]:
        """Of all studies that have final trials, those that chose nothing; none unless that is so of every one."""
        found = [one for one in self._chosen.values() if isinstance(one, Unchosen)]
        return found if len(found) == len(self._studies) else []

    def _choice(self, final: Final) -> Row | None:
        """The row that a final trial's study chose; else that is recorded."""
        study = final.study
        assert study is not None
        if study.name not in self._chosen:
            rows = self.recorder.of("search", study.variant, study.fold)
            self._chosen[study.name] = best_of(study, rows, self.config.search.rule)
        found = self._chosen[study.name]
        if not isinstance(found, Unchosen):
            return found
        spec = spec_of(self.config, final, {})
        self.recorder.trial(failed_row(self.config, spec, self.dataset, found.why))
        return None


def spec_in(config: Mapping[str, Any]) -> Spec | None:
    """The final trial that a trial was asked for; None for one of a search."""
    return Spec(**config["final"]) if "final" in config else None
