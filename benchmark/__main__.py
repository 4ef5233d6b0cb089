"""The command line: ``python -m benchmark experiment=<name> key=value ...``."""

import sys
from collections.abc import Sequence

from benchmark.config import compose as config
from benchmark.common.terminal import exit_code

HELP = """usage: python -m benchmark [experiment=<name>] [key=value ...]

Searches and judges model bridging against its competitors on one direction of transfer,
and writes results/<name>/.

experiments: {experiments}
data:        {data}

  key=null      search it, where a method's option is searched
  resume=true   finish an interrupted run
  --config      print the resolved configuration and stop

All options and their defaults:

{options}"""


def main(words: Sequence[str]) -> int:
    """Run the command line; the exit code, as in ``exit_code``."""
    return exit_code(lambda: _run(words), "Stopped before the run began.")


def _run(words: Sequence[str]) -> int:
    shown = [word for word in words if word in ("-h", "--help", "--config")]
    rest = [word for word in words if word not in shown]
    resolved = config.load(rest)
    if shown:
        print(_shown(shown, resolved))
        return 0
    from benchmark import sweep  # not before the words are understood: it imports Ray and torch

    try:
        sweep.run(resolved)
    except sweep.Interrupted as stopped:
        again = " ".join([*[word for word in rest if not word.startswith("overwrite=")], "resume=true"])
        print(
            f"\nStopped. What was finished is kept in {stopped}; python -m benchmark {again} goes on.", file=sys.stderr
        )
        return 130
    return 0


def _shown(shown: Sequence[str], resolved: dict) -> str:
    from omegaconf import OmegaConf

    options = OmegaConf.to_yaml(OmegaConf.create(resolved))
    if "--config" in shown:
        return options.rstrip()
    return HELP.format(
        experiments=", ".join(config.choices("experiment")), data=", ".join(config.choices("data")), options=options
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
