"""What is searched for the bridge: where it leaves and enters, how wide it is, and how fast it learns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config.options import Blocks, Option, new_block, old_block_or_head, one_of, positive, whole

if TYPE_CHECKING:
    import optuna

OPTIONS = {
    "position": Option("searched", one_of("searched", "two_stage")),  # give input and output to fix it
    "input": Option(None, new_block),
    "output": Option(None, old_block_or_head),
    "similarity": Option("cka", one_of("cka", "debiased_cka", "minibatch_cka")),  # of position=two_stage
    "rank": Option(None, whole(1)),
    "prototypes": Option(None, whole(1)),
    "learning_rate": Option(None, positive),
    "epochs": Option(40, whole(1)),
    "batch_size": Option(16, whole(1)),
    "init": Option("rand", one_of("rand", "randreal")),
    "loss": Option("cosine", one_of("cosine", "mse", "l1", "infonce")),
    "loss_at": Option("last_layer", one_of("last_layer", "bridge_output")),
    "layout": Option("transpose", one_of("transpose", "released")),
    "population": Option(1, whole(1)),  # trials at one position that are trained together
    "compile": Option(False, one_of(True, False)),  # torch.compile the old model's blocks
    "autocast": Option("none", one_of("none", "bfloat16")),  # of the old model's blocks
}


def contradiction(options: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """What of the options, each right by itself, does not go together, and what to do; None if all does."""
    head, old, trials = options["output"] == "head", config["old"]["name"], config["search"]["trials"]
    given = [name for name in ("input", "output") if options[name] is not None]
    if options["position"] == "two_stage" and given and config["search"]["space"] != "paper":
        return f"bridge.position=two_stage chooses bridge.{given[0]}={options[given[0]]} itself; leave one of them out"
    if head and options["loss_at"] == "bridge_output":
        return "bridge.output=head has no block after it, so bridge.loss_at=bridge_output says nothing; leave it out"
    if options["layout"] == "released" and (head or old != "labram"):
        place = "at bridge.output=head" if head else f"with old encoder {old}"
        return f"bridge.layout=released is no other layout {place}; leave it out, or use labram as old encoder"
    if options["loss"] == "infonce" and options["batch_size"] < 2:
        return "bridge.loss=infonce tells windows of a batch apart; give bridge.batch_size of at least 2"
    if trials % options["population"]:
        return f"bridge.population={options['population']} does not divide search.trials={trials}; change one of them"
    return None


# The released hyperparameters, by experiment (method.md of the paper's release: six directions).
PAPER: dict[str, dict[str, Any]] = {
    "wesad_ppg2ecg": {"input": 7, "output": 11, "rank": 32, "prototypes": 50, "learning_rate": 1e-4, "epochs": 50},
    "wesad_ecg2ppg": {"input": 4, "output": 2, "rank": 8, "prototypes": 150, "learning_rate": 1e-6, "epochs": 100},
    "isruc_eeg2ecg": {"input": 7, "output": 2, "rank": 32, "prototypes": 300, "learning_rate": 1e-5, "epochs": 50},
    "isruc_ecg2eeg": {"input": 11, "output": 0, "rank": 4, "prototypes": 200, "learning_rate": 1e-4, "epochs": 50},
    "fog_eeg2emg": {
        "input": 3,
        "output": 11,
        "rank": 256,
        "prototypes": 200,
        "learning_rate": 1e-5,
        "epochs": 100,
        "loss": "infonce",
    },
    "fog_emg2eeg": {"input": 6, "output": 10, "rank": 8, "prototypes": 50, "learning_rate": 1e-4, "epochs": 100},
}


def space(trial: "optuna.Trial", blocks: Blocks) -> None:
    """Positions over all blocks of both models, the head among the landing places."""
    trial.suggest_int("input", 0, blocks.new - 1)
    trial.suggest_categorical("output", [*range(blocks.old), "head"])
    trial.suggest_categorical("rank", [2, 4, 8, 16, 32])
    trial.suggest_categorical("prototypes", [8, 16, 32, 64, 128])
    trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True)
