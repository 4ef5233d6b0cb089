"""One table, one file. A new table is a new module here with

- ``NAME``, the file's name, and ``TITLE``;
- ``build(run) -> polars.DataFrame``: raw values, one row per line of the table; an empty frame where the run has
  nothing to say, which leaves the table out;
- ``columns(run, frame) -> Sequence[Column]``: how a row is displayed;
- ``caption(run) -> str``: how the numbers came about;
- ``LONG = True`` where it is for a file, and not for a terminal.
"""

from analysis.discovery import modules
from analysis.run import Run
from analysis.writers import Table


def tables(run: Run) -> list[Table]:
    """Every table that the run has rows for."""
    found = []
    for module in modules(__path__, __name__, ("NAME", "TITLE", "build", "columns", "caption")):
        frame = module.build(run)
        if frame.height:
            head, long = (module.NAME, module.TITLE, module.caption(run)), getattr(module, "LONG", False)
            found.append(Table(*head, frame, module.columns(run, frame), long))
    return found
