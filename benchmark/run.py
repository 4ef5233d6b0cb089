"""The story of a run: plan, prepare and train."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.cluster.exchange import told
from benchmark.cluster.nodes import nodes_of
from benchmark.cluster.resources import Node, check_room, room
from benchmark.cluster.session import session
from benchmark.common.files import check_writable
from benchmark.common.machine import check_device
from benchmark.config.schema import Config
from benchmark.data.base import PairedWindows
from benchmark.frozen.loading import load_data, share_data
from benchmark.frozen.teacher import check_probe
from benchmark.frozen.weights import Shapes, check_weights, shapes_of
from benchmark.method import student_parameters
from benchmark.plan import Plan, describe, make_plan, method_of
from benchmark.results import folder as folders
from benchmark.results.folder import claim
from benchmark.results.lock import locked
from benchmark.results.recorder import recording
from benchmark.search.experiment import train
from benchmark.search.samplers import best_points
from benchmark.search.space import Saving


class Interrupted(Exception):
    """The user stopped the run; what was finished is kept in the folder that the message names."""


def run(config: Config, say: Callable[[str], None] = print, words: Sequence[str] = ()) -> Path:
    """Run a configuration; returns its folder, with a row for all that was planned.

    ``words`` of a command line that gave it are kept for whoever wants to run it again.

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
    shapes = check_models(config, data, plan)
    if config.resume and folders.is_complete(folders.path_of(config)):
        say(f"{folders.path_of(config)} is finished: there is nothing to go on with.")
        return folders.path_of(config)
    folder: Path | None = None
    try:
        with session(config.cluster, workers_of(config)) as nodes, locked(folders.path_of(config)):
            share_data(config, data)
            whole = student_parameters(shapes.new, shapes.n_classes)
            folder = claim(config, {**plan.document(), "student_parameters": whole, "words": list(words)})
            say(f"{describe(config, data, plan)}\n{room(config.cluster, nodes)}")
            options = {name: config.method_options[method_of(name)] for name in plan.methods}
            with recording(folder, plan.methods, options) as recorder:
                saved = train(config, plan, shapes, data.dataset, folder, recorder)
                if saved > 1:
                    say(f"Found {saved:.0f} s of earlier work, and did not repeat it.")
                if moved := told():
                    say(moved)
                recorder.finish()
        return folder
    except KeyboardInterrupt:
        if folder is None:
            raise
        raise Interrupted(str(folder)) from None


def check_machine(config: Config) -> Sequence[Node]:
    """The nodes that there are; InputError for folders that cannot be written to or hold another run, for a device that
    is not here, for a cluster that does not answer, and for a trial that it has no room for."""
    folders.check(config)
    check_writable(Path(config.cache), "cache")
    if config.cluster.name == "local":
        check_device(config.device)
    nodes = nodes_of(config.cluster)
    check_room(config.cluster, workers_of(config), nodes)
    return nodes


def workers_of(config: Config) -> dict[str, int]:
    """The processes that a trial trains with, by the option that says so."""
    return {f"{name}.workers": config.method_options[name].processes for name in config.methods}


def folders_of(config: Config) -> dict[str, str]:
    """What a run reads and writes, by the option that says so."""
    root = getattr(config.data, "root", None)
    return {"cache": config.cache, "results": config.results, **({"data.root": root} if root else {})}


def check_models(config: Config, data: PairedWindows, plan: Plan) -> Shapes:
    """The encoders' shapes; InputError for encoders that do not take the data, for weights that cannot be used, for
    options that do not fit the encoders or save too little, and for splits that no teacher can be trained on."""
    shapes = shapes_of(config, data)
    for name in config.methods:
        if config.search.warm_start not in (None, "paper"):
            best_points(Path(config.search.warm_start), name, most=1)
        options = config.method_options[name]
        options.check(config, shapes.blocks)
        Saving(config, name, shapes).check(options.model_dump())
    check_weights(config, data)
    for split in plan.splits:
        check_probe(config.teacher, data.label[split.train], data.subject[split.train])
    return shapes
