"""The story of a run: plan, prepare, search, choose, evaluate."""

import time
from collections.abc import Callable
from pathlib import Path

from benchmark import registry
from benchmark.cluster.session import session
from benchmark.common.files import check_writable
from benchmark.common.machine import check_device
from benchmark.config.options import Blocks
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.encoders.base import Encoder
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import load_data
from benchmark.frozen.teacher import check_probe
from benchmark.frozen.weights import check_weights, shapes
from benchmark.plan import Plan, describe, make_plan
from benchmark.results import folder as folders
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
    check_machine(config)
    data = load_data(config, progress=True)
    plan = make_plan(config, data)
    blocks = check_models(config, data, plan)
    with session(config.cluster):
        folder = claim(config, plan.document())
        say(describe(config, data, plan))
        try:
            with recording(folder, plan.methods, config.method_options) as recorder:
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


def check_machine(config: Config) -> None:
    """InputError for folders that cannot be written to or hold another run, and for a device that is not here."""
    folders.check(config)
    check_writable(Path(config.cache), "cache")
    if not config.cluster.address:
        check_device(config.device)


def check_models(config: Config, data: PairedWindows, plan: Plan) -> Blocks:
    """What search spaces depend on; InputError for encoders that do not take the data, for weights that cannot be used,
    for options that do not fit the encoders, and for splits that no teacher can be trained on."""
    blocks = blocks_of(shapes(config, data, "new"), shapes(config, data, "old"))
    for name in config.methods:
        config.method_options[name].check(config, blocks)
    check_weights(config, data)
    for split in plan.splits:
        check_probe(config.teacher, data.label[split.train], data.subject[split.train])
    return blocks


def blocks_of(new: Encoder, old: Encoder) -> Blocks:
    """What search spaces depend on."""
    widths = (max(encoder.shape_at(k)[1] for k in range(encoder.n_blocks + 1)) for encoder in (new, old))
    return Blocks(new.n_blocks, old.n_blocks, *widths)


def reads_last_tokens(config: Config) -> bool:
    """Whether a method reads the teacher's last output token by token, so that one pass keeps that too."""
    return any(
        registry.get(name).reads_last_tokens(config.method_options[name])
        for name in [*config.methods, *config.references]
    )
