"""What was measured, as a table, as Parquet and as figures."""

import io
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import writers
from analysis.writers import Column, Table, integer, label, number
from benchmark.common.files import write_bytes
from benchmark.common.machine import cores
from benchmark.perf.clock import ENOUGH
from benchmark.perf.directions import device
from benchmark.results.schema import write_parquet

SCHEMA: Mapping[str, Any] = {
    "part": pl.String,
    "direction": pl.String,
    "way": pl.String,
    "batch": pl.Int64,
    "seconds": pl.Float64,
    "peak_mib": pl.Float64,
    "rounds": pl.Int64,
    "unit": pl.String,
    "low": pl.Float64,
    "value": pl.Float64,
    "high": pl.Float64,
    "promise": pl.Float64,
    "verdict": pl.String,
}
RANGE = ("low", "value", "high")
INFERENCE: Mapping[str, Any] = {
    "direction": pl.String,
    "bridge_input": pl.Int64,
    "bridge_output": pl.Int64,
    "seconds": pl.Float64,
    "measured": pl.Float64,
    "whole_student": pl.Float64,
}
COLOURS = {"floor": "0.6", "store": "#0072B2", "plain": "#D55E00"}


def compared(row: Mapping[str, Any]) -> str:
    """The median over rounds of the comparison, and its range."""
    if row["value"] is None:
        return writers.MISSING
    low, value, high = (f"{row[name]:,.0f}" if row[name] >= 100 else f"{row[name]:.3g}" for name in RANGE)
    return f"{value} {row['unit']} ({low} to {high})"


def promised(row: Mapping[str, Any]) -> str:
    """What was promised of the comparison, and whether that is kept."""
    if row["promise"] is None:
        return writers.MISSING
    return f"{'≥' if row['unit'] == 'x faster' else '≤'} {row['promise']:g} {row['verdict']}"


def verdicts(rows: Sequence[Mapping[str, Any]]) -> str:
    """What became of the promises, as the end of a line."""
    judged = [row for row in rows if row.get("verdict")]
    return "".join(f"; {row['part']}, {row['way']}: {compared(row)}, {promised(row)}" for row in judged)


def measurements(rows: Sequence[Mapping[str, Any]], command: str) -> Table:
    frame = pl.DataFrame(list(rows), schema=dict(SCHEMA), orient="row")
    columns = [
        label("part", "What"),
        label("direction", "Direction"),
        label("way", "Way"),
        integer("batch", "Batch"),
        number("seconds", "Seconds", digits=4),
        Column("Store against it", compared, right=False),
        Column("Promised", promised, right=False),
        number("peak_mib", "Peak (MiB)", digits=0),
        integer("rounds", "Rounds"),
    ]
    caption = (
        f"Measured side by side in one run on {machine()}; command: {command}. Full-size models with untrained weights "
        "on simulated windows of the true shapes, at the paper's positions. Seconds are medians over rounds, for "
        "orientation: they depend on how busy the host is. Comparisons are taken within each round, in which the ways "
        f"take turns in an order that changes: their median and, in brackets, quartiles, or the extremes of fewer than "
        f"{ENOUGH} rounds. A promise is met or MISSED where both ends of that range are on one side of it; rounds go "
        "on until that is so, or until the time for them is over: then it is not decided. store: this project's way. "
        "plain: the straightforward loop of benchmark/perf/plain.py, as the released code works: both models at every "
        "step, the old one twice, gradients of weights that are not trained except LaBraM's. tail: the bare forward "
        "(and, in training, backward) of blocks j.. of the old model; bridge alone: of the bridge itself. floor: both "
        "in one, and a step of fused Adam on the bridge. No training of a bridge can do without these: the bridge is "
        "what is trained, and into a small block it has more parameters than what follows it. Above the floor are the "
        "loss, the watch over gradients and the fetching of batches. once per block: each model whole for each of its "
        "own blocks, so that its ratio lies between their numbers of blocks, nearer that of the slower model. Peak: of "
        "the process, with both models loaded; of the store's sweep, of the trials that run at once. A sweep's round "
        "trains for a fifth of the epochs, and the seconds inside of trials are multiplied; what is prepared before it "
        "is measured once. The plain loop's sweep is composed of a step and an evaluation "
        "measured for each of its trials. The overhead of a trial is in seconds (s), compared with nothing."
    )
    return Table("performance", "Performance", caption, frame, columns)


def inference_summary(frame: pl.DataFrame) -> Table:
    """The range over (i, j), and how far compositions were from what was measured."""
    rows = []
    for (direction,), part in frame.group_by("direction", maintain_order=True):
        checked = part.drop_nulls("measured")
        error = (checked["seconds"] / checked["measured"] - 1).abs().max()
        rows.append(
            {
                "direction": direction,
                "least": part["seconds"].min(),
                "most": part["seconds"].max(),
                "student": part["whole_student"][0],
                "checked": len(checked),
                "error": error,
            }
        )
    columns = [
        label("direction", "Direction"),
        number("least", "Fastest (i, j) (ms)", scale=1000),
        number("most", "Slowest (ms)", scale=1000),
        number("student", "Whole new model (ms)", scale=1000),
        integer("checked", "Spot checks"),
        number("error", "Largest difference (%)", scale=100),
    ]
    caption = (
        "Time to predict one window, batch 1, from the raw window to logits, for every position (i, j): composed of "
        "measured seconds per block. Spot checks measure a whole prediction and give how far the composition was off."
    )
    return Table("inference", "Inference by position", caption, pl.DataFrame(rows), columns)


def machine() -> str:
    """The machine in a few words: processor, cores, memory, torch."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), name
        )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{name}, {cores()} cores, {memory:.0f} GiB, torch {torch.__version__}, {torch.get_num_threads()} threads"


def spoken(direction: str) -> str:
    """``wesad_ppg2ecg`` -> WESAD PPG → ECG."""
    return direction.upper().replace("_", " ").replace("2", " → ")


def steps_figure(frame: pl.DataFrame) -> Figure:
    """Seconds of a training step: plain, store and floor, on a logarithmic axis; how many times faster the store is."""
    steps = frame.filter(pl.col("part") == "train a batch")
    directions = steps["direction"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(8, 0.55 * len(directions) + 1.4), layout="constrained")
    axes = figure.subplots()
    for k, direction in enumerate(directions):
        mine = {row["way"]: row for row in steps.filter(pl.col("direction") == direction).iter_rows(named=True)}
        axes.plot([mine["store"]["seconds"], mine["plain"]["seconds"]], [k, k], color="0.85", linewidth=3, zorder=1)
        for way, marker in (("plain", "o"), ("floor", "|"), ("store", "o")):
            size = 160 if way == "floor" else 60
            axes.scatter(
                mine[way]["seconds"], k, s=size, marker=marker, color=COLOURS[way], label=None if k else way, zorder=3
            )
        beside = (mine["plain"]["seconds"], k)
        axes.annotate(compared(mine["plain"]), beside, (9, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(directions)), [spoken(direction) for direction in directions])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_xlabel("seconds of a training step (log scale)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", ncols=3, bbox_to_anchor=(1, 1))
    return figure


def inference_figure(frame: pl.DataFrame) -> Figure:
    """A heat map over (i, j) for each direction."""
    directions = frame["direction"].unique(maintain_order=True).to_list()
    columns = min(3, len(directions))
    figure = Figure(figsize=(4.2 * columns, 3.6 * -(-len(directions) // columns)), layout="constrained")
    grid = np.ravel(figure.subplots(-(-len(directions) // columns), columns, squeeze=False))
    for axes, direction in zip(grid, directions, strict=False):
        part = frame.filter(pl.col("direction") == direction).sort("bridge_input", "bridge_output")
        values = 1000 * part["seconds"].to_numpy().reshape(part["bridge_input"].n_unique(), -1)
        image = axes.imshow(values, cmap="viridis_r", aspect="auto")
        axes.set_title(spoken(direction), fontsize=11, loc="left")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("input of old block j (last: head)")
        axes.set_ylabel("output of new block i")
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label="ms per window")
    for axes in grid[len(directions) :]:
        axes.set_visible(False)
    return figure


def write(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    inference: Sequence[Mapping[str, Any]],
    command: str,
    seconds: float,
) -> list[Path]:
    """``<folder>/<date>.{md,parquet}`` and figures, of a GPU ``<date>-<its name>``; those of the same day are
    replaced."""
    name = "-".join(filter(None, [date.today().isoformat(), gpu()]))
    table = measurements(rows, command)
    text = [f"# Performance, {name}\n", f"`{command}` took {seconds / 60:.0f} minutes on {machine()}.\n"]
    text.append(writers.markdown(table))
    written = [_parquet(table.frame, folder / f"{name}.parquet")]
    if not table.frame.filter(pl.col("part") == "train a batch").is_empty():
        written.append(_figure(steps_figure(table.frame), folder / f"{name}-steps.png"))
        text.append(f"![Seconds of a training step]({name}-steps.png)\n")
    if inference:
        frame = pl.DataFrame(list(inference), schema=dict(INFERENCE), orient="row")
        written.append(_parquet(frame, folder / f"{name}-inference.parquet"))
        written.append(_figure(inference_figure(frame), folder / f"{name}-inference.png"))
        text += [writers.markdown(inference_summary(frame)), f"![Inference by position]({name}-inference.png)\n"]
    return [write_bytes(folder / f"{name}.md", "\n".join(text).encode()), *written]


def gpu() -> str:
    """The name of the GPU that is measured, as part of a file's; empty of a CPU."""
    return re.sub(r"\W+", "-", torch.cuda.get_device_name()).lower() if device() == "cuda" else ""


def _parquet(frame: pl.DataFrame, path: Path) -> Path:
    write_parquet(frame, path)
    return path


def _figure(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return write_bytes(path, buffer.getvalue())
