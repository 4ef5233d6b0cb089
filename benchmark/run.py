"""The story of a run: plan, prepare, search, choose, evaluate."""

import time
from collections.abc import Callable
from pathlib import Path

from benchmark import registry
from benchmark.cluster.session import session
from benchmark.config.options import Blocks
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import load_data
from benchmark.frozen.weights import shapes
from benchmark.plan import describe, make_plan
from benchmark.results.folder import claim
from benchmark.results.recorder import recording
from benchmark.search.choice import choose
from benchmark.search.experiment import evaluate, search


class Interrupted(Exception):
    """The user stopped the run; what was finished is kept in the folder that the message names."""


def run(config: Config, say: Callable[[str], None] = print) -> Path:
    """Run a configuration; returns its folder, with a row for all that was planned.

    Raises
    ------
    InputError
        For what cannot be used, before anything is written.
    RunError
        Where every trial of a method failed.
    Interrupted
        Where the user stopped it.
    """
    data = load_data(config, progress=True)
    plan = make_plan(config, data)
    blocks = check_blocks(config, data)
    folder = claim(config, plan.document())
    say(describe(config, data, plan))
    try:
        with recording(folder, plan.methods) as recorder, session(config.cluster):
            begin = time.perf_counter()
            saved = prepare(config, plan.folds, reads_last_tokens(config))
            reused = f"; found {saved:.0f} s of earlier work and did not repeat it" if saved > 1 else ""
            say(f"Prepared in {time.perf_counter() - begin:.0f} s{reused}.")
            search(config, plan, blocks, data.dataset, folder, recorder)
            chosen = choose(config, plan, recorder)
            evaluate(config, chosen, data.dataset, recorder)
            recorder.finish()
    except KeyboardInterrupt:
        raise Interrupted(str(folder)) from None
    return folder


def check_blocks(config: Config, data: PairedWindows) -> Blocks:
    """How many blocks the encoders have; InputError for encoders that do not take the data, and for options that do not
    fit the encoders."""
    blocks = Blocks(new=shapes(config, data, "new").n_blocks, old=shapes(config, data, "old").n_blocks)
    for name in config.methods:
        config.method_options[name].check(config, blocks)
    return blocks


def reads_last_tokens(config: Config) -> bool:
    """Whether a method reads the teacher's last output token by token, so that one pass keeps that too."""
    return any(
        registry.get(name).reads_last_tokens(config.method_options[name])
        for name in [*config.methods, *config.references]
    )
