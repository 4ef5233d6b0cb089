"""``python -m benchmark.encoders list`` and ``python -m benchmark.encoders fetch NAME``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.terminal import aligned, exit_code
from benchmark.encoders import registry
from benchmark.errors import InputError


def listing() -> str:
    """A table of all encoders and presets: what they take, how large they are, where weights come from."""
    rows = [("encoder", "modality", "rate", "preset", "blocks", "parameters", "weights", "licence of weights")]
    for name in registry.names():
        cls = registry.encoder_class(name)
        for preset in cls.presets:
            encoder = registry.build(name, cls.example, preset, device="meta")
            source = cls.released.get(preset)
            rows.append(
                (
                    name,
                    " ".join(cls.modalities),
                    f"{cls.rate:g} Hz",
                    preset,
                    str(encoder.n_blocks),
                    f"{registry.parameter_count(encoder):,}",
                    source.page if source else "none released: train it",
                    source.licence if source else "",
                )
            )
    return "\n".join(aligned(rows))


def fetch(name: str, preset: str | None = None, folder: str | Path = registry.WEIGHTS_FOLDER) -> Path:
    """Download the released weights of an encoder into ``folder`` and check that they load.

    ``preset`` may be left out where one preset has released weights. A file that is there already is checked
    and kept. Raises InputError that says what to fetch, and where to put it, if the download fails.
    """
    from benchmark.common import download  # not for a listing: it imports requests

    cls = registry.encoder_class(name)
    if preset is None:
        if len(cls.released) != 1:
            raise InputError(f"{name} has released weights for {', '.join(cls.released)}; choose one with --preset")
        preset = next(iter(cls.released))
    source = cls.released.get(preset)
    if source is None:
        raise InputError(f"{name} {preset} has no released weights; presets that have: {', '.join(cls.released)}")
    path = Path(folder) / source.file
    if path.exists():
        if not download.matches(path, source.checksum):
            raise InputError(f"{path} is not the published file: its checksum is not {source.checksum}; move it away")
    else:
        download.fetch(
            source.url, source.checksum, path, f"fetch {source.url} and save it as {path} (see {source.page})"
        )
    registry.build(name, cls.example, preset, weights=path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.encoders", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="encoders, presets, sizes and where their weights come from")
    get = commands.add_parser("fetch", help="download released weights")
    get.add_argument("name", help="encoder")
    get.add_argument("--preset", help="needed where several presets have released weights")
    get.add_argument("--folder", default=registry.WEIGHTS_FOLDER, type=Path, help="default: %(default)s")
    options = parser.parse_args(arguments)
    return exit_code(
        lambda: print(listing() if options.command == "list" else fetch(options.name, options.preset, options.folder))
    )


if __name__ == "__main__":
    sys.exit(main())
