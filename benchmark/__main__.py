"""The command line: ``python -m benchmark experiment=<name> key=value ...``; the only file that knows both ends."""

import sys
import time
from collections.abc import Sequence

from benchmark.common.terminal import exit_code

SHOWN = ("-h", "--help", "--config", "--options", "--plan", "--cluster-check")


def main(words: Sequence[str]) -> int:
    """Run the command line; the exit code, as in ``exit_code``."""
    return exit_code(lambda: _main(words), "Stopped before the run began.")


def _main(words: Sequence[str]) -> int:
    # Here, where a signal is answered: imports take seconds.
    from benchmark.config import help
    from benchmark.registry import catalogue, configure

    shown = [word for word in words if word in SHOWN]
    rest = [word for word in words if word not in SHOWN]
    config = configure(rest)
    if "--config" in shown:
        print(help.as_yaml(config))
        return 0
    if "--options" in shown:
        print(help.markdown(config))
        return 0
    if "-h" in shown or "--help" in shown:
        print(help.usage(config, catalogue()))
        return 0
    # Not before the words are understood: these import Ray and torch.
    if "--cluster-check" in shown:
        from benchmark.cluster.check import cluster_check
        from benchmark.run import folders_of, workers_of

        table, problems = cluster_check(config.cluster, workers_of(config), folders_of(config))
        print("\n".join([*table, "", *(problems or ["All of this will work."])]))
        return 1 if problems else 0
    if "--plan" in shown:
        from benchmark.preview import preview

        print(preview(config))
        return 0
    import analysis
    from benchmark import run

    begin = time.perf_counter()
    try:
        folder = run.run(config, words=rest)
    except run.Interrupted as stopped:
        again = " ".join([*(word for word in rest if not word.startswith(("overwrite=", "resume="))), "resume=true"])
        raise KeyboardInterrupt(
            f"Stopped. What was finished is kept in {stopped}; python -m benchmark {again} goes on."
        ) from None
    try:
        written = analysis.write(folder)
        print(f"\n{analysis.show(folder)}\n{analysis.closing(folder, written, time.perf_counter() - begin)}")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped. The run is finished; python -m analysis {folder} makes its tables."
        ) from None
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
