"""A run's folder described for machines: Croissant 1.0 of MLCommons, JSON-LD in schema.org's vocabulary."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from analysis import captions
from analysis.run import Run
from benchmark.results.folder import TRIALS
from benchmark.results.schema import PREDICTION, ROW, Column

NAME = "croissant.json"
ENCODINGS = {
    ".parquet": "application/x-parquet",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".yaml": "application/yaml",
    ".html": "text/html",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".tex": "application/x-tex",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
TYPES = {"str": "sc:Text", "int": "sc:Integer", "float": "sc:Float", "bool": "sc:Boolean"}
LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"
CITE = (
    "BioX-Bridge: Model Bridging for Unsupervised Cross-Modal Knowledge Transfer across Biosignals, ICLR 2026, arXiv "
    "2510.02276; and the data set and the foundation models after their own wishes"
)
TERMS = (
    "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS},
}


def described(run: Run, paths: Iterable[Path]) -> dict[str, Any]:
    """The description of files of the run's folder, with a set of records for each Parquet file that is declared."""
    names = [path.relative_to(run.path).as_posix() for path in paths]
    tables: dict[str, Sequence[Column]] = {TRIALS: (*ROW, *run.columns), "predictions.parquet": PREDICTION}
    for card in run.methods.values():
        tables |= {f"{name}.parquet": columns for name, columns in card.tables.items()}
    began = run.trials["started_at"].drop_nulls().sort()
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": run.name,
        "description": (
            f"What a run of BridgeBench found. {captions.setting(run)} Labels are the data set's, under its licence; "
            "recordings are not in it."
        ),
        "url": next(name for name in ("report.html", TRIALS) if name in names),
        "license": LICENSE,
        "citeAs": CITE,
        "creator": {"@type": "sc:Organization", "name": "BridgeBench"},
        "datePublished": began[-1][:10] if len(began) else None,
        "distribution": [_file(run.path, name) for name in names],
        "recordSet": [_records(name, columns) for name, columns in tables.items() if name in names],
    }


def _file(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{len(content)} B",
        "encodingFormat": ENCODINGS[Path(name).suffix],
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _records(name: str, columns: Sequence[Column]) -> dict[str, Any]:
    table = name.removesuffix(".parquet")
    every = {column.name: column for column in reversed(columns)}  # of two of a name, the first
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{table}/{column.name}",
                "name": column.name,
                "description": (column.help or column.name) + (f" ({column.unit})" if column.unit else ""),
                "dataType": TYPES[column.dtype],
                "source": {"fileObject": {"@id": name}, "extract": {"column": column.name}},
            }
            for column in reversed(every.values())
        ],
    }
