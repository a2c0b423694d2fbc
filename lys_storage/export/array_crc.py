"""CRC-32 of the whole array, folded from the checksums of its frames and blocks. The array is not read."""

from __future__ import annotations

import errno

import numpy as np

from ..errors import StorageOSError
from ..format import combine, crc32_repeated, fold, fold_rows
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, WRITTEN
from ..store import ScanStore

_STEP = 1 << 16
_HAS_CHECKSUM = (CHECKSUMMED, BLOCK_CHECKSUMMED)
_NO_CHECKSUM = (
    "written frames have no checksum, the journal may be damaged: end this process, then run lys-storage recover"
)


def array_crc32(store: ScanStore, frames: int) -> int:
    """CRC-32 of the first `frames` frames. Missing frames count as the fill value."""
    states = store.journal.states
    size, per_block, total = store.description.frame_bytes, states.per_block, 0
    fill_crc = crc32_repeated(store.description.fill, size // len(store.description.fill))
    for at in range(0, frames, _STEP):
        here = states.array[at : min(at + _STEP, frames)]
        sums = np.where(here < WRITTEN, np.uint32(fill_crc), states.checksums[at : at + len(here)])
        count = len(here) // per_block if per_block > 1 else 0
        rows = here[: count * per_block].reshape(count, per_block)
        in_block = rows == BLOCK_CHECKSUMMED
        whole, loose = in_block.all(axis=1), here[count * per_block :]
        if not np.all(in_block.any(axis=1) == whole) or not np.all((here < WRITTEN) | np.isin(here, _HAS_CHECKSUM)):
            raise StorageOSError(errno.EIO, _NO_CHECKSUM, str(store.path))
        if (loose == BLOCK_CHECKSUMMED).any():
            raise StorageOSError(errno.EIO, _NO_CHECKSUM, str(store.path))
        if count:
            blocks = states.block_checksums[at // per_block : at // per_block + count].copy()
            own = sums[: count * per_block].reshape(count, per_block)
            blocks[~whole] = fold_rows(own[~whole], size)
            total = combine(total, fold(blocks, size * per_block), size * per_block * count)
        total = combine(total, fold(sums[count * per_block :], size), size * len(loose))
    return total
