"""Bytes of the files of a scan: pure encode and decode, no I/O."""

from __future__ import annotations

from .acquisition import INFO_FORMAT, INFO_MEMBER, INFO_VERSION, check_info
from .alignment import PAGE
from .archive import DATA_MEMBER, DataLayout, encode_tail, layout_of, plan_data_member, tail_reserve
from .axes_and_note import (
    ALLOW_PICKLE_NPY,
    Axes,
    check_axes,
    check_axes_leniently,
    decode_axes,
    decode_note,
    encode_axes,
    encode_note,
    plain_note,
    with_coordinates,
)
from .checksum import CRC32_ADDRESS, combine, crc32, crc32_repeated, fold, fold_rows
from .description import MAX_FRAMES, Description, decode_description, encode_description
from .geometry import FrameLayout, Grid, LayoutChanged
from .names import (
    EXPORT_SUFFIX,
    JOURNAL_SUFFIX,
    PART_SUFFIX,
    REDO_SUFFIX,
    journal_path,
    numbered_name,
    part_path,
    redo_path,
)
from .npy import MAX_NPY_HEADER, check_dtype, check_shape, decode_npy_header, encode_npy_header
from .selection import select

__all__ = [
    "ALLOW_PICKLE_NPY",
    "CRC32_ADDRESS",
    "DATA_MEMBER",
    "EXPORT_SUFFIX",
    "INFO_FORMAT",
    "INFO_MEMBER",
    "INFO_VERSION",
    "JOURNAL_SUFFIX",
    "MAX_FRAMES",
    "MAX_NPY_HEADER",
    "PAGE",
    "PART_SUFFIX",
    "REDO_SUFFIX",
    "Axes",
    "DataLayout",
    "Description",
    "FrameLayout",
    "Grid",
    "LayoutChanged",
    "check_axes",
    "check_axes_leniently",
    "check_dtype",
    "check_info",
    "check_shape",
    "combine",
    "crc32",
    "crc32_repeated",
    "decode_axes",
    "decode_description",
    "decode_note",
    "decode_npy_header",
    "encode_axes",
    "encode_description",
    "encode_note",
    "encode_npy_header",
    "encode_tail",
    "fold",
    "fold_rows",
    "journal_path",
    "layout_of",
    "numbered_name",
    "part_path",
    "plain_note",
    "plan_data_member",
    "redo_path",
    "select",
    "tail_reserve",
    "with_coordinates",
]
