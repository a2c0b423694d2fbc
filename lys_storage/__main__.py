"""`python -m lys_storage` is `lys-storage`."""

from .cli import main

main(prog_name="lys-storage")
