"""A run's Optuna studies in one journal file, for whoever looks at them with Optuna's own tools.

Nothing is read back from it: studies are built again from the rows of the run, and so is the journal.
"""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from benchmark.search.studies import SearchStudy

NAME = "studies.journal"


class Journal:
    """``studies.journal`` in a run's folder, begun anew."""

    def __init__(self, folder: Path):
        path = folder / NAME
        path.unlink(missing_ok=True)
        # The lock is opened, not linked: not all file systems have links.
        self._storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
        self._studies: dict[str, optuna.Study] = {}
        self._written: dict[str, int] = {}

    def keep(self, study: SearchStudy) -> None:
        """Add what the study was told since it was kept last."""
        told = study.told(but=self._written.get(study.name, 0))
        if not told:
            return
        if study.name not in self._studies:
            self._studies[study.name] = optuna.create_study(
                storage=self._storage, study_name=study.name, directions=study.directions
            )
        self._studies[study.name].add_trials(told)
        self._written[study.name] = self._written.get(study.name, 0) + len(told)
