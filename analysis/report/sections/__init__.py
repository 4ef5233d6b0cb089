"""One section, one file. A new section is a new module here with

- ``NAME``, its address on the page, ``TITLE``, and ``PLACE``, smaller for what comes earlier;
- ``build(run) -> Sequence[Part]``: what it shows; nothing where the run has nothing to say, which leaves it out.

Tables stand in ``TABLES``; one that is not there has its place behind the results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.discovery import modules
from analysis.report.parts import Part, Tables
from analysis.run import Run

TABLES: Mapping[tuple[int, str, str], Sequence[str]] = {
    (20, "results", "Results on test"): ("accuracy", "comparisons", "accuracy_folds"),
    (30, "losses", "Where the transfer loses"): ("transfer",),
    (45, "pareto", "Several objectives"): ("pareto",),
    (120, "failures", "What failed, and why"): ("failures",),
    (130, "costs", "Costs"): ("parameters", "budget"),
}
"""Names of tables by place, address and title of their section."""
FURTHER = (35, "further", "Further results")


@dataclass(frozen=True)
class Section:
    place: int
    name: str
    title: str
    parts: Sequence[Part]


def sections(run: Run, tables: Tables) -> list[Section]:
    """Every section that the run has something to say in, in their order."""
    placed = {name for names in TABLES.values() for name in names}
    further = {FURTHER: [name for name in tables if name not in placed]}
    found = [
        Section(*where, [tables[name] for name in names if name in tables])
        for where, names in {**TABLES, **further}.items()
    ]
    for module in modules(__path__, __name__, ("NAME", "TITLE", "PLACE", "build")):
        found.append(Section(module.PLACE, module.NAME, module.TITLE, module.build(run)))
    return sorted((section for section in found if section.parts), key=lambda section: section.place)
