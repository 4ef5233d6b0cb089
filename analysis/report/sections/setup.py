"""All that is needed to judge the run, to do it again, and to cite it."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence

import polars as pl
from omegaconf import OmegaConf

from analysis import captions
from analysis.report.parts import Code, Part, Text
from analysis.run import Run
from analysis.writers import Table, label
from benchmark.results.folder import read_words

NAME, TITLE, PLACE = "setup", "Protocol, versions, how to do it again", 1000
CITE = (
    "To cite: the version of BridgeBench above with the commands above; the paper of the method, BioX-Bridge (ICLR "
    "2026, arXiv 2510.02276); and the data set and the foundation models after their own wishes."
)


def build(run: Run) -> Sequence[Part]:
    """Protocol, versions and machines, commands, configuration, citation."""
    config = OmegaConf.to_yaml(OmegaConf.create(dict(run.config)))
    return [
        Text([captions.setting(run)]),
        *_versions(run),
        Code("\n".join(commands(run))),
        Text([CITE]),
        Code(config, title="The whole configuration (config.yaml)"),
    ]


def commands(run: Run) -> list[str]:
    """What gives the run again, where it was written down, and this page."""
    words = [word for word in read_words(run.path) if not word.startswith(("resume=", "overwrite="))]
    again = [["python", "-m", "benchmark", *words]] if words else []
    return [*map(shlex.join, [*again, ["python", "-m", "analysis", f"results/{run.name}"]])]


def _versions(run: Run) -> list[Table]:
    """A row for each package, or kind of machine, and version that rows name."""
    counts: Counter[tuple[str, str]] = Counter()
    texts = run.read(run.rows.select("versions").drop_nulls().group_by("versions").len())
    for text, trials in texts.sort("len", "versions", descending=[True, False]).iter_rows():
        counts.update({(what, str(version)): trials for what, version in json.loads(text).items()})
    rows = [{"what": what, "version": version, "trials": trials} for (what, version), trials in counts.items()]
    columns = [label("what", "What"), label("version", "Version"), label("trials", "Trials", right=True)]
    caption = "What the trials ran with, and on what kind of machine."
    return [Table("versions", "Versions", caption, pl.DataFrame(rows), columns)] if rows else []
