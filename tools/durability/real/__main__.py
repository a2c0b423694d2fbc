"""The roles of child processes: `serve` is the disk, `write` writes scans on it, `recover` recovers them."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def serve(folder: Path) -> None:
    from tools.durability.real.fuse import serve

    serve(folder)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("seed")
@click.argument("budget", type=int)
def write(folder: Path, seed: str, budget: int) -> None:
    from tools.durability.real.writer import write_scans

    write_scans(folder, seed, budget)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True)
def recover(folder: Path, verify: bool) -> None:
    from tools.durability.real.writer import recover_all

    recover_all(folder, verify)


if __name__ == "__main__":
    main()
