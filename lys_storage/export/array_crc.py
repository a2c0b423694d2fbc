"""CRC-32 of the whole array, folded from those of its frames and blocks: no byte of the array is read."""

from __future__ import annotations

import numpy as np

from ..errors import StorageOSError
from ..format import combine, crc32_repeated, fold, fold_rows
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, WRITTEN
from ..store import ScanStore

_STEP = 1 << 16
_HAS_CHECKSUM = (CHECKSUMMED, BLOCK_CHECKSUMMED)


def array_crc32(part: ScanStore, frames: int) -> int:
    """CRC-32 of the array of the first `frames` frames, from their checksums, their blocks', and that of a fill frame."""
    size, per_block, total = part.frame_bytes, part.journal.per_block, 0
    fill_crc = crc32_repeated(part.description.fill, size // len(part.description.fill))
    for at in range(0, frames, _STEP):
        marks = part.journal.mark_array[at : min(at + _STEP, frames)]
        sums = np.where(marks < WRITTEN, np.uint32(fill_crc), part.journal.checksums[at : at + len(marks)])
        count = len(marks) // per_block if per_block > 1 else 0
        rows = marks[: count * per_block].reshape(count, per_block)
        in_block = rows == BLOCK_CHECKSUMMED
        whole, loose = in_block.all(axis=1), marks[count * per_block :]
        if not np.all(in_block.any(axis=1) == whole) or not np.all((marks < WRITTEN) | np.isin(marks, _HAS_CHECKSUM)):
            raise StorageOSError(5, "frames without a checksum after all were taken", str(part.path))
        if (loose == BLOCK_CHECKSUMMED).any():
            raise StorageOSError(5, "a block that is cut has no checksums of its own", str(part.path))
        if count:
            blocks = part.journal.block_checksums[at // per_block : at // per_block + count].copy()
            own = sums[: count * per_block].reshape(count, per_block)
            blocks[~whole] = fold_rows(own[~whole], size)
            total = combine(total, fold(blocks, size * per_block), size * per_block * count)
        total = combine(total, fold(sums[count * per_block :], size), size * len(loose))
    return total
