"""Damaged exports: a conversion has the values of the scan, or there is none. The catalog lists each."""

from __future__ import annotations

import decimal
import json
import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage import catalog, convert
from tests.helpers import some
from tests.preview.sources import write_scan
from tests.reading.exports import with_members


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes removed, or the end cut off."""
    result, kind = bytearray(content), chance.random()
    if kind < 0.7:
        for _ in range(chance.choice([1, 1, 2, 5])):
            result[chance.randrange(len(result))] ^= 1 << chance.randrange(8)
    elif kind < 0.85:
        del result[chance.randrange(len(result)) :]
    else:
        at = chance.randrange(len(result))
        del result[at : at + chance.randrange(1, 50)]
    return bytes(result)


@pytest.mark.parametrize("kind", ["ours", "compressed"])
def test_no_damage_gives_other_values(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    data, chance, outcomes = some((3, 4, 5), "u2"), random.Random(0), set()
    path = tmp_path / "a.npz"
    if kind == "ours":
        write_scan(path, data, 1, axes=[[1.0, 2.0, 4.0], None, None], note={"a": 1})
    else:
        np.savez_compressed(path, data=data, axes=np.empty(3, object), note=np.array({"a": 1}, object))
    content = path.read_bytes()
    head = content[:200] + content[3900:] if kind == "ours" else content  # what is between them is zeros
    for _ in range(300):
        changed = damaged(head, chance)
        path.unlink()
        path.write_bytes(changed[:200] + content[200:3900] + changed[200:] if kind == "ours" else changed)
        (one,) = catalog(tmp_path, note=True)
        try:
            convert(path, tmp_path / "b.npy", overwrite=True)
        except lys_storage.LysStorageError:
            outcomes.add((one.state, "refused"))
        else:
            seen = np.load(tmp_path / "b.npy")
            assert (seen.dtype, seen.tolist()) == (data.dtype, data.tolist())
            outcomes.add((one.state, "converted"))
        assert [name for name in os.listdir(tmp_path) if "tmp" in name] == []
    assert {("damaged", "refused"), ("finalized", "converted")} <= outcomes


def test_a_note_that_is_not_read_as_it_was_is_a_warning(tmp_path: Path) -> None:
    """A damaged one is left out, and an object in it is a text: it is not unpickled."""
    write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1, note={"dose": decimal.Decimal("1.5")})
    with_members(tmp_path / "b.npz", {"note.npy": b"damaged"}, tmp_path / "a.npz")
    for name, said in (("a", "decimal.Decimal"), ("b", "not a .npy header")):
        (warning,) = convert(tmp_path / f"{name}.npz", tmp_path / f"{name}.zarr").warnings
        assert said in warning
    group = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert json.loads(group["attributes"]["note"]) == {"dose": "<decimal.Decimal('1.5')>"}
