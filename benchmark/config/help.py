"""What the schema says of options, for people: ``--help``, ``--config`` and the tables of the documentation."""

import textwrap
from collections.abc import Iterable, Iterator

from omegaconf import OmegaConf

from benchmark.config.cluster import CLUSTERS, ClusterOptions
from benchmark.config.compose import Catalogue, choices
from benchmark.config.options import Described, defaults, described
from benchmark.config.schema import Config

USAGE = """usage: python -m benchmark [experiment=<name>] [key=value ...]

Searches and judges model bridging against its competitors on one direction of transfer,
and writes results/<name>/.

experiments:  {experiments}
data:         {data}
encoder@old, encoder@new: {encoders}
cluster:      {clusters}
methods:      {methods}

  key=null      search it, where a method's option is searched
  resume=true   finish an interrupted run
  --plan        print what would run: studies, trials, parameters, what is cached, how long it may take
  --cluster-check  print what the nodes of the cluster have, agree on and see, and what of this run will not work
  --config      print the resolved configuration
  --options     print the options as a table in Markdown

All options, with their values here:

{options}"""
WIDTH, INDENT = 120, 44


def as_yaml(config: Config) -> str:
    """The resolved configuration."""
    return OmegaConf.to_yaml(OmegaConf.create(config.plain())).rstrip()


def options_of(config: Config) -> Iterator[Described]:
    """Every option of a configuration: those of the schema, all clusters, all methods and its data set."""
    values = config.plain()
    data = values.pop("data")
    cluster = values.pop("cluster")
    yield from described(Config, values)
    what = ClusterOptions.model_fields["name"].description or ""
    yield Described("cluster", cluster.pop("name"), " or ".join(CLUSTERS), what)
    yield from described(type(config.cluster), cluster, "cluster.")
    for kind in CLUSTERS.values():  # what the other one has besides
        others = {name: value for name, value in defaults(kind).items() if name not in ClusterOptions.model_fields}
        yield from described(kind, others if not isinstance(config.cluster, kind) else {}, "cluster.")
    for method, options in config.method_options.items():
        yield from described(type(options), options.model_dump(), f"{method}.")
    yield from described(type(config.data), data, "data.")


def markdown(config: Config) -> str:
    """A table for the README, without the options of a data set, which differ."""
    rows = ["| option | value | accepted | |", "|---|---|---|---|"]
    for one in options_of(config):
        if one.name.startswith("data.") and not one.name.startswith("data.split."):
            continue
        cells = (f"`{one.name}`", f"`{one.value}`", one.accepted, one.help)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _lines(options: Iterable[Described]) -> Iterator[str]:
    for one in options:
        head = f"  {one.name}={one.value}"
        said = f"{one.help}; " if one.help else ""
        text = f"{said}{one.accepted}"
        first = head if len(head) < INDENT - 1 else ""
        if not first:
            yield head
        yield from textwrap.wrap(
            text, WIDTH, initial_indent=first.ljust(INDENT), subsequent_indent=" " * INDENT, break_on_hyphens=False
        )


def usage(config: Config, catalogue: Catalogue) -> str:
    """The text of ``--help``."""
    return USAGE.format(
        experiments=", ".join(choices("experiment")),
        data=", ".join(sorted(catalogue.data)),
        encoders=", ".join(choices("encoder")),
        clusters=", ".join(CLUSTERS),
        methods=", ".join(catalogue.methods),
        options="\n".join(_lines(options_of(config))),
    )
