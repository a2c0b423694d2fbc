"""The roles of child processes: `serve` serves the disk, `write` writes scans on it, `recover` recovers them."""

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
@click.option("--interval", type=float, help="Flush interval in s.  [drawn]")
def write(folder: Path, seed: str, budget: int, interval: float | None) -> None:
    from tools.durability.real.writer import write_scans

    write_scans(folder, seed, budget, interval)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True)
@click.option("--same-boot", is_flag=True)
def recover(folder: Path, verify: bool, same_boot: bool) -> None:
    from tools.durability.real.writer import recover_all

    recover_all(folder, verify, same_boot)


if __name__ == "__main__":
    main()
