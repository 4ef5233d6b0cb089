"""One figure, one file. A new figure is a new module here with ``NAME`` and ``draw(run) -> Figure | None``;
None leaves the figure out."""

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from analysis.discovery import modules
from analysis.run import Run
from benchmark.common.files import write_bytes

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Without a salt and a date, the same run gives the same file.
    "svg.hashsalt": "bridgebench",
}


def save(run: Run, folder: Path) -> list[Path]:
    """Write ``<folder>/<name>.{png,svg}`` for every figure that the run has data for."""
    paths: list[Path] = []
    for module in modules(__path__, __name__, ("NAME", "draw")):
        with rc_context(STYLE):
            figure = module.draw(run)
            paths += written(figure, folder / module.NAME) if figure else []
    return paths


def written(figure: Figure, path: Path) -> list[Path]:
    """``<path>.png`` and ``<path>.svg`` of a figure that was drawn in ``STYLE``."""
    paths = []
    with rc_context(STYLE):
        for end, metadata in (("png", {}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=end, dpi=200, metadata=metadata)
            paths.append(write_bytes(path.with_name(f"{path.name}.{end}"), buffer.getvalue()))
    return paths
