"""A dask array of a source. dask is imported when this is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MissingExtraError, install_command
from .source import Source


def as_dask_array(source: Source, chunks: Any) -> Any:
    """A `dask.array.Array` that reads `source`. Its name follows from the file and the chunks.

    The source is one value of the graph: dask sends it to each worker once, where it stays open while it is needed.
    """
    try:
        import dask.array
        from dask.array.core import normalize_chunks
        from dask.base import tokenize
    except ImportError as error:
        raise MissingExtraError(f"a dask array needs dask ({error}): {install_command('dask')}") from None
    cut = normalize_chunks(chunks, shape=source.shape, dtype=source.dtype)  # "auto" depends on the configuration
    return dask.array.from_array(
        source,
        chunks=cut,
        name=f"lys_storage-{tokenize(source, cut)}",
        asarray=False,
        fancy=False,
        inline_array=False,
        meta=np.empty((0,) * source.ndim, source.dtype),
    )
