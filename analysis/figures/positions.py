"""Where to build: the quality of every new block and its similarity to every old one, with what was chosen."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import captions
from analysis.run import Run

NAME = "positions"
COLUMNS = {"fold", "bridge_input", "bridge_output", "quality", "similarity", "chosen"}
"""What a method's table of this name has to declare to be drawn."""


def draw(run: Run) -> Figure | None:
    """The first fold's search for a position; None where no method left a table of them behind."""
    table = run.table(NAME)
    if table is None or table.is_empty() or not set(table.columns) >= COLUMNS:
        return None
    fold = table["fold"].min()
    table = table.filter(pl.col("fold") == fold).sort("bridge_input", "bridge_output")
    quality = table.group_by("bridge_input", maintain_order=True).agg(pl.col("quality").first())["quality"].to_numpy()
    similarity = table["similarity"].to_numpy().reshape(len(quality), -1)
    i, j = table.filter("chosen").select("bridge_input", "bridge_output").row(0)

    height = max(2.6, 0.32 * len(quality) + 1.4)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.6))
    blocks = np.arange(len(quality))
    left.barh(blocks, quality, color=["#D55E00" if block == i else "0.75" for block in blocks])
    left.set_xlabel("quality (macro F1)")
    left.set_ylabel("output of new block i")
    left.set_yticks(blocks)
    left.invert_yaxis()
    image = right.imshow(similarity, cmap="viridis", vmin=0, vmax=max(similarity.max(), 1e-9), aspect="auto")
    right.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5, clip_on=False))
    right.set_xlabel("input of old block j")
    right.set_xticks(np.arange(similarity.shape[1]))
    right.spines[:].set_visible(False)
    figure.colorbar(image, ax=right, label="similarity (linear CKA)")
    left.set_title(f"{captions.data(run)}: chosen i = {i}, j = {j}", loc="left", fontsize=11)
    return figure
