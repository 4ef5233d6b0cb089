"""A run's folder: claimed for one configuration, filled by its log, compacted to tables."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmark.common.files import check_writable, write_text
from benchmark.config.schema import Config
from benchmark.errors import InputError
from benchmark.results import log
from benchmark.results.log import RowLog
from benchmark.results.schema import PREDICTIONS, MethodCard, frame, row_schema, types_of, write_parquet

CONFIG, PLAN, TRIALS = "config.yaml", "plan.json", "trials.parquet"
PASSING = ("resume", "overwrite", "cluster")
"""Sections of a configuration that change no number."""


def path_of(config: Config) -> Path:
    """``results/<name>``."""
    return Path(config.results) / config.name


def check(config: Config) -> None:
    """InputError for a run's folder that holds something else, or an unfinished run; for a run to resume that is not
    there; and for a folder that cannot be written to. Nothing is left written."""
    check_writable(Path(config.results), "results")
    folder = path_of(config)
    if _is_used(folder):
        difference = _difference(folder / CONFIG, config)
        if config.resume and difference:
            raise InputError(
                f"{folder} holds a run of another configuration ({difference}); give the same options, or name=<new>"
            )
        if not config.resume and not config.overwrite:
            if difference:
                raise InputError(
                    f"{folder} holds a run of another configuration ({difference}); give name=<new name>, or "
                    "overwrite=true to replace it"
                )
            if not is_finished(folder):
                raise InputError(
                    f"{folder} holds an unfinished run of this configuration; give resume=true to finish it, or "
                    "overwrite=true to start anew"
                )
    elif config.resume:
        raise InputError(f"resume=true, but {folder} holds no run; leave resume out to start one")


def claim(config: Config, plan: Mapping[str, Any]) -> Path:
    """``results/<name>`` for this configuration: new, resumed, or in place of another run, which moves to
    ``<name>.previous``. ``plan`` goes to ``plan.json``. InputError as ``check``."""
    check(config)
    folder = path_of(config)
    if _is_used(folder):
        if config.resume:
            return folder
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    write_text(folder / PLAN, json.dumps(plan, indent=1))
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config.plain())))
    return folder


def _is_used(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def is_finished(folder: Path) -> bool:
    """Whether all that was planned has a row."""
    finished = False
    for entry in log.read(folder / log.NAME):
        finished = "finished" in entry
    return finished


def is_complete(folder: Path) -> bool:
    """Whether a run is finished and nothing of it failed, so that there is nothing to take up again."""
    status = {row["trial_id"]: row["status"] for row in log.rows(folder / log.NAME)}
    return is_finished(folder) and "failed" not in status.values()


def open_log(folder: Path) -> RowLog:
    return RowLog(folder / log.NAME)


def read_plan(folder: Path) -> dict[str, Any]:
    """``plan.json``. InputError if it is missing or damaged."""
    path = folder / PLAN
    try:
        plan = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        found = "is missing" if not path.exists() else f"cannot be read ({error})"
        raise InputError(f"{path} {found}; restore the file that the run wrote, or run the benchmark again") from None
    if not isinstance(plan, dict) or not isinstance(plan.get("methods"), list):
        raise InputError(f"{path} holds no list of methods; restore the file that the run wrote")
    return plan


def read_methods(folder: Path) -> dict[str, MethodCard]:
    """The methods of a run by name, in the order of its plan: what their classes declared when it ran."""
    try:
        cards = [MethodCard.from_json(found) for found in read_plan(folder)["methods"]]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(
            f"{folder / PLAN}: a method is not described as expected ({error}); restore the file"
        ) from None
    return {card.name: card for card in cards}


def read_classes(folder: Path) -> list[str]:
    """Names of the task's classes, by their numbers. InputError if the plan is missing, damaged or lacks them."""
    classes = read_plan(folder).get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(
            f"{folder / PLAN} holds no list of class names; restore the file that the run wrote, or run the benchmark "
            "again"
        )
    return classes


def read_words(folder: Path) -> list[str]:
    """The command line's words that began the run; none of a run that was not begun by a command line."""
    words = read_plan(folder).get("words")
    return list(map(str, words)) if isinstance(words, list) else []


def read_student(folder: Path) -> int:
    """Trainable parameters of the whole new model with its head. InputError if the plan is missing, or lacks them."""
    found = read_plan(folder).get("student_parameters")
    if not isinstance(found, int) or found < 1:
        raise InputError(
            f"{folder / PLAN} holds no whole number of student_parameters; restore the file that the run wrote, or run "
            "the benchmark again"
        )
    return found


def methods_as_json(cards: Mapping[str, MethodCard]) -> list[dict[str, Any]]:
    """For ``plan.json``."""
    return [dataclasses.asdict(card) for card in cards.values()]


def compact(folder: Path) -> None:
    """Make ``trials.parquet``, ``predictions.parquet`` and the methods' own tables from the log.

    ``trials.parquet`` comes last and is as old as the log was when it was read, so that what was written since is seen.
    """
    methods, written = read_methods(folder), folder / log.NAME
    read_at = written.stat().st_mtime_ns if written.exists() else 0
    rows: dict[str, dict[str, Any]] = {}
    predictions: dict[str, list[dict[str, Any]]] = {}
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for entry in log.read(folder / log.NAME, strict=False):
        if "row" in entry:
            row, columns = entry["row"], entry.get("predictions", {})
            rows[row["trial_id"]] = row
            same = {name: row[name] for name in ("run", "method", "stage", "trial_id", "seed", "fold")}
            values = zip(*columns.values(), strict=True)
            predictions[row["trial_id"]] = [{**same, **dict(zip(columns, value, strict=True))} for value in values]
        elif "table" in entry and entry["rows"]:
            by_key = tables.setdefault(entry["table"], {})
            by_key[str(entry["rows"][0].get("fold"))] = entry["rows"]
    if any(predictions.values()):
        every = [one for some in predictions.values() for one in some]
        write_parquet(frame(every, PREDICTIONS), folder / "predictions.parquet")
    for card in methods.values():
        for name, columns in card.tables.items():
            if name in tables:
                every = [one for some in tables[name].values() for one in some]
                write_parquet(frame(every, types_of(columns)), folder / f"{name}.parquet")
    write_parquet(frame(list(rows.values()), row_schema(methods.values())), folder / TRIALS)
    os.utime(folder / TRIALS, ns=(read_at, read_at))


def compact_if_newer(folder: Path) -> None:
    """Compact a log that has grown since, such as that of a run that is going on. A folder that may not be written to
    is read as it is."""
    written, made = folder / log.NAME, folder / TRIALS
    with contextlib.suppress(PermissionError):
        if not made.exists() or (written.exists() and made.stat().st_mtime_ns < written.stat().st_mtime_ns):
            compact(folder)


def _difference(saved: Path, config: Config) -> str:
    """What differs from the configuration of an earlier run, in a few words; empty if nothing does."""
    if not saved.exists():
        return f"it has no {saved.name}"
    try:
        earlier: Any = OmegaConf.to_container(OmegaConf.load(saved))
        changed = changes(earlier, config.plain())
    except Exception:
        return f"its {saved.name} cannot be read"
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return ", ".join(f"{key} {was} -> {now}" for key, was, now in changed[:3]) + more


def changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs of two configurations and may change a number: dotted key, the earlier value, that of now; None
    for one that a configuration lacks."""
    was, is_now = dict(_leaves(earlier)), dict(_leaves(now))
    return [
        (key, was.get(key), is_now.get(key))
        for key in sorted(was.keys() | is_now.keys())
        if was.get(key) != is_now.get(key) and key.partition(".")[0] not in PASSING
    ]


def _leaves(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found
