"""A run from its configuration to its tables: prepare, search, choose, evaluate. Ray and Optuna stay in this file."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import ray
from omegaconf import OmegaConf
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

import analysis
from benchmark import competitors
from benchmark.bridge import positions
from benchmark.cluster import progress
from benchmark.results import schema as results
from benchmark.config.compose import check_methods, flatten
from benchmark.data.base import PairedWindows
from benchmark.encoders import registry
from benchmark.errors import InputError, RunError
from benchmark.config.options import Blocks
from benchmark.data.splits import LEAKAGE, Split, splits_of
from benchmark.frozen.task import Side, Task, load_data
from benchmark.results.tensorboard import Board
from benchmark.bridge.training import Population
from benchmark.trial.trial import MEMBER, NUMBER, SearchTrial, Spec, failed_row, open_task, run_final, search_specs

PASSING = ("resume", "overwrite", "cluster")
"""Keys of a configuration that change no number."""


class Interrupted(Exception):
    """The user stopped the run; what was finished is kept."""


# -- the run's folder -----------------------------------------------------------------------------------------------


def lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in PASSING}


def claim_folder(config: Mapping[str, Any]) -> Path:
    """``results/<name>`` for this configuration: new, resumed, or in place of a finished run of the same.

    A finished run of the same configuration moves to ``<name>.previous``.
    """
    folder = Path(config["results"]) / config["name"]
    saved = folder / "config.yaml"
    if folder.exists() and any(folder.iterdir()):
        difference = _difference(saved, config)
        if config["resume"] and difference:
            raise InputError(
                f"{folder} holds a run of another configuration ({difference}); give the same options, or name=<new>"
            )
        if config["resume"]:
            return folder
        if not config["overwrite"]:
            if difference:
                raise InputError(
                    f"{folder} holds a run of another configuration ({difference}); give name=<new name>, or "
                    "overwrite=true to replace it"
                )
            if not (folder / "tables").exists():
                raise InputError(
                    f"{folder} holds an unfinished run of this configuration; give resume=true to finish it, or "
                    "overwrite=true to start anew"
                )
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    elif config["resume"]:
        raise InputError(f"resume=true, but {folder} holds no run; leave resume out to start one")
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".config.yaml.tmp"
    temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(dict(config))))
    os.replace(temporary, saved)
    return folder


def _difference(saved: Path, config: Mapping[str, Any]) -> str:
    """What differs from the configuration of an earlier run, in a few words; empty if nothing does."""
    if not saved.exists():
        return "it has no config.yaml"
    try:
        container = OmegaConf.to_container(OmegaConf.load(saved))
        earlier = dict(flatten(lasting({str(key): value for key, value in container.items()})))  # type: ignore[union-attr]
    except Exception:
        return "its config.yaml cannot be read"
    now = dict(flatten(lasting(config)))
    changed = [
        f"{key} {earlier.get(key)} -> {now.get(key)}"
        for key in sorted(earlier.keys() | now.keys())
        if earlier.get(key) != now.get(key) and not isinstance(now.get(key, earlier.get(key)), Mapping)
    ]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return ", ".join(changed[:3]) + more


# -- a cluster to run on --------------------------------------------------------------------------------------------


def start_ray(config: Mapping[str, Any]) -> None:
    cluster = config["cluster"]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # TensorBoard is written by this project
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative paths of the configuration mean the same in every process
    os.environ.setdefault("RAY_worker_niceness", "0")  # seconds are results: not behind everything else on the machine
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the older output obeys verbose=0
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    local = {} if cluster["address"] else {"num_cpus": cluster["cpus"], "include_dashboard": False}
    if not cluster["address"]:
        local["object_store_memory"] = cluster["object_store_mb"] * 2**20
    ray.init(address=cluster["address"], log_to_driver=False, logging_level=logging.ERROR, **local)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in ("ray.tune", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)


def resources(config: Mapping[str, Any]) -> dict[str, Any]:
    cluster = config["cluster"]
    return {"num_cpus": cluster["cpus_per_trial"], "num_gpus": cluster["gpus_per_trial"]}


def finish_all(
    jobs: Sequence[tuple[str, Any]], bar: progress.Bar, board: Any, finished: Callable[[str, Any], None]
) -> None:
    """Wait for Ray's tasks in the order they end, and hand each result over."""
    waiting = {reference: name for name, reference in jobs}
    try:
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=0.5)
            for reference in ready:
                finished(waiting.pop(reference), _result(reference))
                bar.update()
            bar.set_postfix_str(ray.get(board.read.remote())[:70] if board else "", refresh=bool(ready))
    except KeyboardInterrupt:
        for reference in waiting:
            ray.cancel(reference, force=True)
        raise


def _result(reference: Any) -> Any:
    """What a task gave, or the error that it ended in as it was raised there."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError | RunError):
            raise error.cause from None
        raise


# -- prepare --------------------------------------------------------------------------------------------------------


def _prepare(config: Mapping[str, Any], fold: int, side: Side, board: Any) -> float:
    who = f"fold {fold} {config[side]['modality']}"
    task = Task(config, fold, progress.teller(board, who))
    task.compute(side)
    ray.get(board.done.remote(who))
    return task.saved


def prepare(config: Mapping[str, Any], folds: Sequence[int]) -> float:
    """Local weights, teachers and features of all folds; the seconds of earlier work that was found done."""
    board = progress.Board.remote()  # type: ignore[attr-defined]
    remote = ray.remote(**resources(config))(_prepare)
    sides: tuple[Side, Side] = ("old", "new")
    jobs = [(f"{side} {fold}", remote.remote(config, fold, side, board)) for fold in folds for side in sides]
    saved = 0.0

    def add(name: str, seconds: float) -> None:
        nonlocal saved
        saved += seconds

    with progress.Bar(len(jobs), "encoders, teacher, features") as bar:
        finish_all(jobs, bar, board, add)
    return saved


# -- positions ------------------------------------------------------------------------------------------------------


def _locate(config: Mapping[str, Any], fold: int) -> positions.Positions:
    return positions.select(open_task(config, fold), config["seed"], config["bridge"]["similarity"])


def located(config: dict[str, Any], folder: Path, fold: int) -> dict[str, Any]:
    """The configuration with the bridge's positions fixed by the two-stage rule; what it saw goes to a table."""
    found = _result(ray.remote(**resources(config))(_locate).remote(config, fold))
    results.append(folder / "positions.parquet", positions.rows(found, fold), results.POSITIONS)
    return {**config, "bridge": {**config["bridge"], "input": found.input, "output": found.output}}


# -- search ---------------------------------------------------------------------------------------------------------


class FixedOr:
    """An Optuna trial that does not search what the user has fixed.

    For a later ``member`` of a population, what it does not share with the first is asked for under a name of its own.
    """

    def __init__(self, trial: optuna.Trial, fixed: Mapping[str, Any], member: int = 0):
        self._trial, self._fixed, self._member = trial, fixed, member

    def __getattr__(self, name: str) -> Any:
        suggest = getattr(self._trial, name)
        if not name.startswith("suggest_"):
            return suggest

        def ask(parameter: str, *args: Any, **options: Any) -> Any:
            fixed = self._fixed.get(parameter)
            if fixed is not None:
                return fixed
            own = self._member and parameter not in Population.SHARED
            return suggest(f"{parameter}{MEMBER}{self._member}" if own else parameter, *args, **options)

        return ask


def define(trial: optuna.Trial, method: str, fixed: Mapping[str, Any], blocks: Blocks) -> dict[str, Any]:
    """Ask for what is searched; return what is fixed, and the trial's number, which a resume does not change."""
    for member in range(fixed.get("population") or 1):
        competitors.search_space(method).space(FixedOr(trial, fixed, member), blocks)
    return {**{name: value for name, value in fixed.items() if value is not None}, NUMBER: trial.number}


class Watching:
    """What is shown and logged of a search while it runs."""

    def __init__(self, board: Board, bar: progress.Bar):
        self.board, self.bar = board, bar
        self.best = float("-inf")


class Watcher(tune.Callback):
    """Tune pickles callbacks to restore them; what this one shows and writes belongs to the process it wakes up in."""

    current: Watching

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        watching = type(self).current
        for row in json.loads(result["rows"]):
            watching.board.curve(row, row["train_loss"])

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        watching, result = type(self).current, trial.last_result
        rows = json.loads(result["rows"]) if "rows" in result else []
        for row in rows:
            watching.board.finish(row)
            watching.best = max(watching.best, result["score"])
            watching.bar.set_postfix_str(f"best agreement {watching.best:.3f}", refresh=False)
        watching.bar.update(len(rows))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        type(self).current.bar.update(len(search_specs("", 0, 0, trial.config)))


def scheduler(config: Mapping[str, Any]) -> TrialScheduler:
    """What stops poor trials early: nothing, ASHA (Li et al., 2020) or the median rule (Golovin et al., 2017)."""
    name, reports = config["search"]["scheduler"], config["search"]["reports"]
    if name == "asha":
        return ASHAScheduler(metric="score", mode="max", max_t=reports, grace_period=1, reduction_factor=2)
    if name == "median":
        return MedianStoppingRule(metric="score", mode="max", grace_period=1, min_samples_required=3)
    return FIFOScheduler()


def search(
    config: Mapping[str, Any], folder: Path, method: str, fold: int, blocks: Blocks, board: Board
) -> list[dict[str, Any]]:
    """Rows of one method's search in one fold, in the order that Optuna asked for them.

    Suggestions come in batches of a fixed size, so that the same seed asks for the same configurations however fast
    the machine is. An interrupted search is restored from Ray's own state.
    """
    chosen = config["search"]
    store, name = (folder / "ray").resolve(), f"{method}-fold{fold}"
    together = config[method].get("population") or 1
    samples = chosen["trials"] // together
    trainable = tune.with_resources(
        tune.with_parameters(SearchTrial, run=dict(config), method=method, fold=fold),
        {key[4:-1]: value for key, value in resources(config).items()},
    )
    with progress.Bar(chosen["trials"], f"search {method}, fold {fold}") as bar:
        Watcher.current = Watching(board, bar)
        if tune.Tuner.can_restore(str(store / name)):
            tuner = tune.Tuner.restore(
                str(store / name), trainable=trainable, resume_unfinished=True, restart_errored=True
            )
        else:
            searcher = OptunaSearch(
                space=partial(define, method=method, fixed=config[method], blocks=blocks),
                metric="score",
                mode="max",
                sampler=TPESampler(seed=config["seed"] + 1000 * fold, n_startup_trials=max(4, samples // 3)),
            )
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    num_samples=samples,
                    search_alg=ConcurrencyLimiter(
                        searcher, max_concurrent=max(1, chosen["batch"] // together), batch=True
                    ),
                    scheduler=scheduler(config),
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=name,
                    storage_path=str(store),
                    verbose=0,
                    callbacks=[Watcher()],
                    failure_config=tune.FailureConfig(max_failures=chosen["max_failures"]),
                ),
            )
        grid = tuner.fit()
    rows = []
    for result in (grid[k] for k in range(len(grid))):
        if result.error is not None:
            specs = search_specs(method, fold, config["seed"], result.config or {})
            rows += [failed_row(config, spec, str(result.error)) for spec in specs]
        elif result.metrics and result.metrics.get("done"):
            rows += json.loads(result.metrics["rows"])
    return rows


def choose(rows: pl.DataFrame, method: str, fold: int) -> dict[str, Any]:
    """The configuration that the protocol chooses: the best score on val, then the lowest divergence from the teacher,
    then the fewest trainable parameters, then the first."""
    done = rows.filter((pl.col("method") == method) & (pl.col("fold") == fold) & (pl.col("status") == "done"))
    if done.is_empty():
        errors = rows.filter((pl.col("method") == method) & pl.col("error").is_not_null())["error"]
        last = errors[0].strip().splitlines()[-1] if len(errors) else "none was finished"
        raise RunError(f"every trial of {method} failed ({last}); trials.parquet has the whole errors")
    score = pl.coalesce("val_balanced_accuracy", "val_balanced_agreement")
    best = done.sort(
        score, "val_divergence", "trainable_parameters", "trial_id", descending=[True, False, False, False]
    )
    return json.loads(best["config"][0])


# -- the whole ------------------------------------------------------------------------------------------------------


def block_counts(config: Mapping[str, Any], data: PairedWindows) -> Blocks:
    """Blocks of both encoders, without building their weights."""
    counts = []
    for chosen, windows in ((config["new"], data.new), (config["old"], data.old)):
        encoder = registry.build(chosen["name"], windows.spec, preset=chosen["preset"], weights="random", device="meta")
        counts.append(encoder.n_blocks)
    return Blocks(*counts)


def final_specs(config: Mapping[str, Any], rows: pl.DataFrame, folds: Sequence[int], each: bool) -> list[Spec]:
    """What is evaluated on test: every method's choice with every seed, and the references."""
    specs = []
    seeds = config["final"]["seeds"]
    for fold in folds:
        for method in config["methods"]:
            options = choose(rows, method, fold if each else folds[0])
            specs += [
                Spec(method, "final", f"{method}-final-fold{fold}-seed{seed}", fold, seed, options) for seed in seeds
            ]
        for method in config["references"]:
            used = seeds if competitors.get(method).seeded else seeds[:1]
            specs += [Spec(method, "final", f"{method}-final-fold{fold}-seed{seed}", fold, seed) for seed in used]
    return specs


def run(config: dict[str, Any], say: Callable[[str], None] = print) -> Path:
    """Run a configuration to its tables; the run's folder. Raises Interrupted where the user stopped it."""
    begin = time.perf_counter()
    data = load_data(config, progress=True)
    splits = splits_of(data, config["data"]["split"], config["seed"])
    blocks = block_counts(config, data)
    check_methods(config, blocks)
    folder = claim_folder(config)
    say(describe(config, data, splits))
    try:
        start_ray(config)
        _run(config, folder, blocks, list(range(len(splits))), say)
    except KeyboardInterrupt:
        raise Interrupted(str(folder)) from None
    finally:
        ray.shutdown()
    written = analysis.write(folder)
    say("")
    say(analysis.show(folder))
    say(closing(folder, written, time.perf_counter() - begin))
    return folder


def _run(config: dict[str, Any], folder: Path, blocks: Blocks, folds: list[int], say: Callable[[str], None]) -> None:
    begin = time.perf_counter()
    saved = prepare(config, folds)
    reused = f"; found {saved:.0f} s of earlier work and did not repeat it" if saved > 1 else ""
    say(f"Prepared in {time.perf_counter() - begin:.0f} s{reused}.")
    trials, predictions = folder / "trials.parquet", folder / "predictions.parquet"
    each = config["search"]["folds"] == "each"
    board = Board(folder / "tensorboard")
    try:
        for fold in folds if each else folds[:1]:
            for method in config["methods"]:
                table = results.read_parquet(trials)
                mine = table.filter(
                    (pl.col("method") == method) & (pl.col("fold") == fold) & (pl.col("stage") == "search")
                )
                if len(mine) >= config["search"]["trials"]:
                    continue
                chosen = config
                if method == "bridge" and config["bridge"]["position"] == "two_stage":
                    chosen = located(config, folder, fold)
                rows = search(chosen, folder, method, fold, blocks, board)
                results.append(trials, rows)
                if len(rows) < config["search"]["trials"]:
                    raise KeyboardInterrupt
        table = results.read_parquet(trials)
        specs = final_specs(config, table.filter(pl.col("stage") == "search"), folds, each)
        done = set(table.filter((pl.col("stage") == "final") & (pl.col("status") == "done"))["trial_id"])
        evaluate(config, [spec for spec in specs if spec.trial_id not in done], trials, predictions, board)
    finally:
        board.close()


def evaluate(config: Mapping[str, Any], specs: Sequence[Spec], trials: Path, predictions: Path, board: Board) -> None:
    """Final trials: each is kept as it ends."""
    remote = ray.remote(max_retries=3, **resources(config))(run_final)
    jobs = [(spec.trial_id, remote.remote(config, spec)) for spec in specs]

    def keep(name: str, found: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
        row, predicted = found
        # Predictions first: a row that is there means that all of it is.
        if predicted:
            results.append(predictions, predicted, results.PREDICTIONS)
        results.append(trials, [row])
        if row["status"] == "done":
            board.finish(row)

    with progress.Bar(len(jobs), "evaluate on test") as bar:
        finish_all(jobs, bar, None, keep)


def describe(config: Mapping[str, Any], data: PairedWindows, splits: Sequence[Split]) -> str:
    old, new = config["old"], config["new"]
    folds, leakage = len(splits), max((split.leakage for split in splits), key=LEAKAGE.index)
    split = f"subject-wise {folds}-fold" if folds > 1 else "one split by subject"
    if leakage != "none":
        split = "one split within subjects" if leakage == "subjects" else "one LEAKY split: parts share samples"
    where = ""
    if folds > 1:
        where = ", searched in the first fold" if config["search"]["folds"] == "first" else ", searched in every fold"
    return (
        f"{config['name']}: {data.dataset}, {len(data)} windows of {len(data.subjects)} subjects, {split}\n"
        f"  teacher listens to {old['modality'].upper()} ({old['name']} {old['preset']}, {old['weights']} weights); "
        f"predictions come from {new['modality'].upper()} ({new['name']} {new['preset']}, {new['weights']} weights)\n"
        f"  {config['search']['trials']} trials for each of {', '.join(config['methods'])}{where}; "
        f"seeds {config['final']['seeds']}; protocol: {config['protocol']}"
    )


def closing(folder: Path, written: Sequence[Path], seconds: float) -> str:
    table = results.read_parquet(folder / "trials.parquet")
    failed = table.filter(pl.col("status") == "failed")
    warning = f"{len(failed)} of {len(table)} trials failed: column error of trials.parquet says why.\n"
    return (
        f"{warning if len(failed) else ''}"
        f"Finished in {seconds / 60:.1f} minutes. Everything lies in {folder}:\n"
        f"  trials.parquet, predictions.parquet   a row per trial, a row per test window\n"
        f"  tables/, figures/                     {len(written)} files\n"
        f"  compare the trials:                   .venv/bin/tensorboard --logdir {folder / 'tensorboard'}"
    )
