"""``--plan``: what a configuration would run, what the cache holds of it, and how long it may take on this machine.

The data set is read, and kept in the cache, since splits are made of it; one batch of noise goes through each untrained
encoder, since seconds are estimated from that. Nothing is trained, extracted or written to a run's folder.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmark import registry
from benchmark.cluster.resources import at_once, room, trial_resources
from benchmark.common.terminal import aligned, duration
from benchmark.config.options import Blocks
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.encoders import registry as encoders
from benchmark.frozen.loading import load_data
from benchmark.frozen.prepare import Cached, cached
from benchmark.frozen.weights import Shapes, Side, options_of
from benchmark.method import ForwardSeconds
from benchmark.plan import Plan, describe, make_plan, window_counts
from benchmark.run import check_machine, check_models
from benchmark.search.space import recorded_space

WINDOWS = 4  # of noise, for the estimate
TRAINING = 3.0  # a forward and a backward take about so many forwards
ACTORS = 8.0  # seconds until actors have imported torch


def preview(config: Config) -> str:
    """The plan as text. InputError as a run would raise it before it begins."""
    nodes = check_machine(config)
    data = load_data(config, progress=True)
    plan = make_plan(config, data)
    shapes = check_models(config, data, plan)
    spaces = {name: _space(config, name, shapes.blocks) for name in plan.methods}
    there = cached(config, plan.folds)
    forward = ForwardSeconds(_forward_seconds(config, data, "old"), _forward_seconds(config, data, "new"))
    parts = window_counts(plan)
    folds = max(study.folds for study in plan.studies)
    if folds > 1:  # a training is one of an inner fold
        parts["val"], parts["pair"] = (part * (parts["pair"] + parts["val"]) // folds for part in (1, folds - 1))
    seconds = {
        name: registry.get(name).seconds(forward, parts["train"], parts["pair"], parts["val"], spaces[name])
        for name in plan.methods
    }
    return "\n".join(
        [
            describe(config, data, plan),
            room(config.cluster, nodes),
            "",
            *_studies(config, shapes, plan, spaces, seconds),
            "",
            *_cache(config, there),
            "",
            _time(config, plan, at_once(trial_resources(config.cluster), nodes), forward, parts, there, seconds),
        ]
    )


def _space(config: Config, name: str, blocks: Blocks) -> Mapping[str, Sequence[Any]]:
    """What is searched or fixed of a method's options."""
    options = config.method_options[name].model_dump()
    if name in config.methods:
        return recorded_space(registry.search_space(name), options, blocks)
    return {option: [value] for option, value in options.items()}


def _studies(
    config: Config,
    shapes: Shapes,
    plan: Plan,
    spaces: Mapping[str, Mapping[str, Sequence[Any]]],
    seconds: Mapping[str, float],
) -> list[str]:
    rows = [["study", "trials", "trainings", "epochs", "seconds each"]]
    for study in plan.studies:
        epochs = spaces[study.method].get("epochs", [0])[0]
        rows.append([study.name, str(study.trials), str(study.trainings), str(epochs), f"{seconds[study.method]:.1f}"])
    finals = Counter(final.method for final in plan.finals)
    lines = [*aligned(rows), "", f"final trials: {', '.join(f'{name} {n}' for name, n in finals.items())}", ""]
    sizes = [["trainable parameters", "", "least", "most"]]
    for name in config.methods:
        for size in registry.get(name).sizes(shapes.old, shapes.new, shapes.n_classes, spaces[name]):
            sizes.append([name, size.where, f"{size.least:,}", f"{size.most:,}"])
    return lines + aligned(sizes)


def _cache(config: Config, there: Cached) -> list[str]:
    rows = [[f"in {config.cache}", "there", "of"]]
    rows += [[what, str(done), str(total)] for what, (done, total) in there.counts.items()]
    return aligned(rows)


def _time(
    config: Config,
    plan: Plan,
    slots: int,
    forward: ForwardSeconds,
    parts: Mapping[str, int],
    there: Cached,
    seconds: Mapping[str, float],
) -> str:
    whole = {"old": sum(forward.old), "new": sum(forward.new)}
    pretraining = config.pretraining.steps * config.pretraining.batch_size
    prepare = sum(TRAINING * pretraining * whole[side] for side in there.missing_weights)
    prepare += sum(n * whole[side] for side, n in there.missing_windows.items())
    if config.teacher.training == "finetune":
        done, of = there.counts["teachers"]
        prepare += (of - done) * TRAINING * config.teacher.epochs * parts["train"] * whole["old"]
    search = sum(study.trainings * seconds[study.method] for study in plan.studies)
    final = sum(seconds[final.method] for final in plan.finals)
    phases = {
        "prepare": prepare / slots,
        "search": search / slots + ACTORS,
        "evaluate": final / slots,
    }
    each = ", ".join(f"{name} {duration(one)}" for name, one in phases.items())
    return (
        f"estimated time here, {slots} trials at once: {duration(sum(phases.values()))} ({each}); from one batch of "
        "noise through each encoder, so take it as a size"
    )


@torch.inference_mode()
def _forward_seconds(config: Config, data: PairedWindows, side: Side) -> list[float]:
    """Seconds a window until block 0 can start, and of each block: the second of two runs of an untrained encoder."""
    options = options_of(config, side)
    spec = data.side(options.modality).spec
    encoder = encoders.build(options.name, spec, preset=options.preset, weights="random", device=config.device)
    noise = np.random.default_rng(0).standard_normal((WINDOWS, spec.n_channels, spec.n_samples)).astype(np.float32)
    taken: list[float] = []
    for _ in range(2):
        begin = time.perf_counter()
        hidden = encoder.embed(encoder.inputs(noise))
        taken = [time.perf_counter() - begin]
        for block in range(encoder.n_blocks):
            begin = time.perf_counter()
            hidden = encoder.run(hidden, block, block + 1)
            taken.append(time.perf_counter() - begin)
    return [seconds / WINDOWS for seconds in taken]
