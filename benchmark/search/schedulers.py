"""What stops poor trials early, each study by itself."""

from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from benchmark.config.schema import SearchOptions


class _Median(MedianStoppingRule):
    def _on_insufficient_samples(self, *_: Any) -> str:
        return TrialScheduler.CONTINUE  # it would pause a trial, which begins again at its first epoch


class StudyScheduler(FIFOScheduler):
    """A scheduler for each study of an experiment, so that trials are compared with those of their own study alone:
    none, ASHA (Li et al., 2020) or the median rule (Golovin et al., 2017).

    They judge trials on the first inner fold, which all are trained on; what is sent to further ones is trained there
    to its end.
    """

    def __init__(self, options: SearchOptions):
        super().__init__()
        self.options = options
        self.studies: dict[str, TrialScheduler] = {}

    def _of(self, trial: Any) -> TrialScheduler | None:
        name = trial.config["study"]
        if self.options.scheduler == "none" or trial.config["inner"] > 0:
            return None
        if name not in self.studies:
            self.studies[name] = self._made()
        return self.studies[name]

    def _made(self) -> TrialScheduler:
        if self.options.scheduler == "asha":
            return ASHAScheduler(
                metric="score", mode="max", max_t=self.options.reports, grace_period=1, reduction_factor=2
            )
        return _Median(metric="score", mode="max", grace_period=1, min_samples_required=3)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_add(controller, trial)

    def on_trial_result(self, controller: Any, trial: Any, result: dict) -> str:
        scheduler = self._of(trial)
        return scheduler.on_trial_result(controller, trial, result) if scheduler else TrialScheduler.CONTINUE

    def on_trial_complete(self, controller: Any, trial: Any, result: dict) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_complete(controller, trial, result)

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_error(controller, trial)

    def on_trial_remove(self, controller: Any, trial: Any) -> None:
        if scheduler := self._of(trial):
            scheduler.on_trial_remove(controller, trial)
