"""What stops poor trials early, each study by itself; and which trial gets an actor that is free."""

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

    ``keeps``: actors are kept for trials that come, if none waits, to the end of the experiment. Not where trials
    differ in what they ask of a node: one that is kept would take the place of another.
    """

    def __init__(self, options: SearchOptions, keeps: bool = True):
        super().__init__()
        self.options, self.keeps = options, keeps
        self.studies: dict[str, TrialScheduler] = {}
        self._waiting = list[Any]()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The one that waits longest, but for those whose actor is being started.

        Tune gives an actor that is free to the trial chosen here, or else to any that waits, and drops the one that was
        asked for for it, even if that is about to come up: where trials are shorter than the start of an actor, no
        second one ever did.
        """
        self._waiting = [trial for trial in self._waiting if trial.status == trial.PENDING]
        tune = controller._tune_controller  # what schedulers are given says nothing of actors
        chosen = None
        for trial in self._waiting:
            actor = tune._trial_to_actor.get(trial)
            if actor is not None and tune._actor_manager.is_actor_started(actor):  # created, if not yet up
                tune._resources_to_pending_trials[trial.placement_group_factory].discard(trial)
            else:
                chosen = chosen or trial
        return chosen

    def _of(self, trial: Any) -> TrialScheduler | None:
        if self.options.scheduler == "none" or trial.config.get("inner") != 0:  # of none: final trials, preparation
            return None
        name = trial.config["study"]
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
        if self.keeps:  # Tune keeps as many as there are trials that wait for one
            controller._tune_controller._actor_cache.increase_max(trial.placement_group_factory)
        self._waiting.append(trial)
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
