"""``python -m benchmark.perf.choice``: what the ways to choose a configuration are worth, on simulated people.

Twelve random configurations of a method are compared by each rule on few people; a thousand fresh ones say what was
chosen and what would have been best. Scores are balanced agreement with the teacher, what all rules go by. The encoders
and the teacher are those of other people yet, trained once.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.writers import Column, Table, integer, label, markdown, mean_sd, number
from benchmark import registry
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.files import write_bytes
from benchmark.common.machine import cores
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.frozen.loading import load_data
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import Task, open_task
from benchmark.frozen.weights import shapes_of
from benchmark.plan import INNER_FOLDS, Spec, Study
from benchmark.registry import configure
from benchmark.results.schema import write_parquet
from benchmark.search.choice import Unchosen, best_of
from benchmark.search.studies import SearchStudy, specs_of
from benchmark.trial import metrics
from benchmark.trial.folds import merged
from benchmark.trial.trial import Trial

SUBJECTS = (4, 8, 16, 32)
"""Of pair and val together."""
VAL = 0.27  # the quickstart's share
TRAINED, FRESH, CONFIGURATIONS, EVERY = 16, 1000, 12, 10
METHODS = {"bridge": "Bridge at the head", "probe_hard": "Hard probe"}
RULES = {
    "val": "val alone",
    "best": "folds, the best",
    "one_standard_error": "folds, one standard error",
}
WORDS = (
    "data.condition_seconds=20",
    "search.sampler=random",
    "search.min_reduction=null",
    "bridge.objective=published",
    "bridge.output=head",  # no block of the old model runs: minutes instead of hours
    "bridge.epochs=20",
)
COLOURS = {"val": "#D55E00", "best": "#56B4E9", "one_standard_error": "#0072B2"}


def settings(repeats: int, cache: Path) -> Config:
    """People for the frozen models, for ``repeats`` choices among as many as the most subjects, and fresh ones."""
    pool = repeats * max(SUBJECTS)
    parts = {"train": TRAINED, "pair": TRAINED, "val": pool, "test": FRESH}
    words = [f"data.split.{part}={size}" for part, size in parts.items()]
    return configure([*WORDS, *words, f"data.subjects={sum(parts.values())}", f"cache={cache}", "name=choice"])


def judge(config: Config, method: str, n: int, repeat: int, progress: Progress) -> list[dict[str, Any]]:
    """What each rule chooses on so many subjects, and what that is worth on fresh ones."""
    whole = open_task(config, 0)
    pool = np.unique(whole.data.subject[whole.split.val])[repeat * max(SUBJECTS) :][:n]
    subjects = np.random.default_rng(repeat).permutation(pool)
    held_out = max(1, round(VAL * n))
    pair, val = (np.flatnonzero(np.isin(whole.data.subject, own)) for own in (subjects[held_out:], subjects[:held_out]))
    task = whole.on(replace(whole.split, pair=pair, val=val))
    seeded = config.model_copy(update={"seed": repeat})
    alone, folds = (
        _searched(task, seeded, Study(method, 0, CONFIGURATIONS, folds=count)) for count in (1, INNER_FOLDS)
    )
    attainable = max(max(_fresh(task, method, row["config"], repeat)) for row in alone)
    found = []
    for rule in RULES:
        chosen = best_of(Study(method, 0, CONFIGURATIONS), alone if rule == "val" else folds, rule)
        assert not isinstance(chosen, Unchosen)
        epochs = None if rule == "val" else chosen["best_epoch"]
        fresh = _fresh(task, method, chosen["config"], repeat, epochs)[-1]
        found.append(
            {
                "method": method,
                "subjects": n,
                "repeat": repeat,
                "rule": rule,
                "parameters": chosen["trainable_parameters"],
                "regret": attainable - fresh,
                "optimism": chosen["val_balanced_agreement"] - fresh,
            }
        )
    return found


def _searched(task: Task, config: Config, study: Study) -> list[dict[str, Any]]:
    """The rows of a study, whose trials run here one after the other."""
    fixed = {
        name: value for name, value in config.method_options[study.method].model_dump().items() if value is not None
    }
    asked = SearchStudy(config, study, fixed, shapes_of(config, task.data))
    rows: dict[str, dict[str, Any]] = {}
    while (one := asked.next()) is not None:
        [spec] = specs_of(study, config.seed, one)
        trial = Trial(task, spec)
        for _ in trial.epochs():
            pass
        row = trial.row()
        asked.tell(one.number, one.inner, [row])
        rows[spec.trial_id] = merged(rows.get(spec.trial_id), row)
    return list(rows.values())


def _fresh(task: Task, method: str, options: str, seed: int, epochs: int | None = -1) -> list[float]:
    """Agreement on fresh people: of training on pair alone, its best epoch on val (``epochs=None``); of training on
    pair and val for so many epochs; or, with -1, at every ``EVERY`` epochs of that."""
    spec = Spec(method, "final", "fresh", 0, seed, json.loads(options))
    whole = registry.options_of(method, spec.options)
    last = getattr(whole, "epochs", 0) if epochs == -1 else epochs
    trial = Trial(task, spec if epochs is None else replace(spec, chosen={"best_epoch": last}))
    teacher = task.teacher_logits("test")
    found = []
    for _ in trial.epochs():
        if epochs == -1 and trial.epoch % EVERY == 0:
            found.append(metrics.balanced_agreement(trial.method.logits("test"), teacher))
    if epochs is None:
        trial.method.load_state(trial.best_state)
    if not found:
        found.append(metrics.balanced_agreement(trial.method.logits("test"), teacher))
    return found


def summary(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Means over repeats with their standard errors, by method, subjects and rule."""
    order = [pl.col("rule").cast(pl.Enum(list(RULES))), pl.col("method").cast(pl.Enum(list(METHODS)))]
    return (
        pl.DataFrame(rows)
        .group_by("method", "subjects", "rule")
        .agg(
            pl.len().alias("repeats"),
            pl.col("parameters").median(),
            *(pl.col(name).mean() for name in ("regret", "optimism")),
            *((pl.col(name).std() / pl.len().sqrt()).alias(f"{name}_sd") for name in ("regret", "optimism")),
        )
        .sort(order[1], "subjects", order[0])
        .with_columns(
            pl.col("method").replace_strict(METHODS).alias("label"), pl.col("rule").replace_strict(RULES).alias("by")
        )
    )


def table(found: pl.DataFrame) -> str:
    """Markdown."""
    columns: list[Column] = [
        label("label", "Method"),
        integer("subjects", "Subjects"),
        label("by", "Chosen by"),
        mean_sd("regret", "Regret"),
        mean_sd("optimism", "Optimism"),
        number("parameters", "Parameters (median)", digits=0),
    ]
    caption = (
        f"Percent of balanced agreement with the teacher: means over {found['repeats'][0]} repeats ± their standard "
        f"errors. Regret: the best that one of the {CONFIGURATIONS} configurations reaches on {FRESH:,} fresh people, "
        "trained on all subjects, minus what was chosen. Optimism: the score at the choice minus that on fresh people."
    )
    return markdown(Table("choice", "What a choice is worth", caption, found, columns))


def draw(found: pl.DataFrame) -> Figure:
    """Regret above, optimism below; a panel per method, a line per rule."""
    figure = Figure(figsize=(7.6, 5.4), layout="constrained")
    axes = figure.subplots(2, len(METHODS), sharex=True, sharey="row")
    for across, (method, name) in enumerate(METHODS.items()):
        for down, what in enumerate(("regret", "optimism")):
            panel = axes[down, across]
            for k, (rule, said) in enumerate(RULES.items()):
                mine = found.filter(pl.col("method") == method, pl.col("rule") == rule)
                at = np.array(mine["subjects"].to_list()) * 1.04 ** (k - 1)
                panel.errorbar(
                    at,
                    100 * mine[what],
                    100 * mine[f"{what}_sd"],
                    color=COLOURS[rule],
                    marker="osD"[k],
                    markersize=5,
                    capsize=2,
                    label=said,
                )
            panel.axhline(0, color="0.6", linewidth=0.8, zorder=0)
            panel.set_xscale("log", base=2)
            panel.set_xticks(SUBJECTS, [str(n) for n in SUBJECTS])
            panel.grid(alpha=0.25)
        axes[0, across].set_title(name, loc="left", fontsize=11)
        axes[1, across].set_xlabel("subjects of pair and val")
    axes[0, 0].set_ylabel("regret (points)")
    axes[1, 0].set_ylabel("optimism (points)")
    axes[0, -1].legend(frameon=False, title="chosen by")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.choice", description=__doc__)
    parser.add_argument("--repeats", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--cache", type=Path, help="default: a temporary folder")
    parser.add_argument("--out", type=Path, default=Path("docs/choice"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    begin, rows = time.perf_counter(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        config = settings(given.repeats, given.cache or Path(folder))
        load_data(config, progress=True)
        with session(config.cluster):
            prepare(config, [0], last_tokens=False)
            jobs = [
                Job(f"{method} of {n}", judge, (config, method, n, repeat))
                for n in reversed(SUBJECTS)
                for method in METHODS
                for repeat in range(given.repeats)
            ]
            run_jobs(jobs, config.cluster, "choices", lambda _, found: rows.extend(found))
    rows.sort(key=lambda row: (row["method"], row["subjects"], row["repeat"], row["rule"]))
    found = summary(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    write_parquet(pl.DataFrame(rows), given.out / "choice.parquet")
    draw(found).savefig(given.out / "choice.png", dpi=150)
    minutes = (time.perf_counter() - begin) / 60
    command = f"python -m benchmark.perf.choice --repeats {given.repeats}"
    said = f"`{command}`, {date.today()}, {minutes:.0f} minutes on {cores()} cores."
    write_bytes(given.out / "choice.md", f"{table(found)}\n![regret and optimism](choice.png)\n\n{said}\n".encode())
    print((given.out / "choice.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
