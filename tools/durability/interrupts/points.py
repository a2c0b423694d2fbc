"""Raises KeyboardInterrupt at the n-th point of a call where CPython can deliver a signal.

CPython runs the handler of a signal where a function begins or a generator goes on, behind a call of a compiled function, and
where a loop jumps back. So a `with` statement cannot be interrupted between the end of a compiled `__enter__` and its block,
nor between its block and `__exit__`; a trace function that raises at lines or instructions would do so. What raises here is
the profile function, in the call itself, and the trace function where a loop jumps back and behind the call of a type.
Only the calling thread is interrupted, and only code of lys_storage and contextlib.
"""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import lys_storage

_PACKAGE = str(Path(lys_storage.__file__).parent)
_FILES = (contextlib.__file__,)


@cache
def _is_traced(code: CodeType) -> bool:
    return code.co_filename.startswith(_PACKAGE) or code.co_filename in _FILES


@cache
def _checked(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions behind which CPython looks for signals."""

    def looks(name: str) -> bool:
        is_call = name.startswith("CALL") and not name.startswith("CALL_INTRINSIC")
        return is_call or ("JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name)

    return frozenset(each.offset for each in dis.get_instructions(code) if looks(each.opname))


@cache
def _handlers(code: CodeType) -> dict[int, int]:
    """Where an exception goes from each instruction that has a handler, by offset."""
    entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined,unused-ignore]
    return {at: entry.target for entry in entries for at in range(entry.start, entry.end, 2)}


class _Tracer:
    """Of one frame. `is_behind`: its last instruction was one behind which CPython looks, and no other event has told."""

    def __init__(self, owner: Interrupts, frame: FrameType, *, is_behind: bool = False) -> None:
        self._owner, self._checked, self.is_behind = owner, _checked(frame.f_code), is_behind
        self._last = frame.f_lasti
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> _Tracer:
        self._owner.go_on_profiling()
        if event == "opcode":
            handlers, last, was = _handlers(frame.f_code), self._last, self.is_behind
            self._last, self.is_behind = frame.f_lasti, frame.f_lasti in self._checked
            # An interrupt behind a call goes to the handler of the call, one that is raised here to that of what follows.
            if was and handlers.get(last) == handlers.get(frame.f_lasti):
                self._owner.point(frame)
        elif event == "exception":
            self.is_behind = False
        return self


class Interrupts:
    """`at`: the numbers of the points, from 1, where the call is interrupted. `seen`: how many points have come."""

    def __init__(self, at: Collection[int] = ()) -> None:
        self._at = frozenset(at)
        self.seen = 0
        self.where: list[str] = []

    def run(self, call: Callable[[], Any]) -> Any:
        """Call it. Raises what it raises."""
        before = sys.gettrace()  # a measurement of coverage goes on afterwards
        try:
            sys.setprofile(self._profile)
            sys.settrace(self._begin)
            return call()
        finally:
            sys.setprofile(None)  # first: either one sets the other one again
            sys.settrace(before)

    def point(self, frame: FrameType) -> None:
        self.seen += 1
        if self.seen in self._at:
            self.where.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
            raise KeyboardInterrupt

    def _begin(self, frame: FrameType, event: str, arg: Any) -> _Tracer | None:
        self.go_on_profiling()
        caller = frame.f_back.f_trace if frame.f_back is not None else None
        if isinstance(caller, _Tracer) and frame.f_code.co_name not in ("__init__", "__new__"):
            caller.is_behind = False  # CPython does not look behind the call of a Python function
        return _Tracer(self, frame) if _is_traced(frame.f_code) else None

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if sys.gettrace() is None:
            self._go_on_tracing(frame, event)
        if not _is_traced(frame.f_code):
            return
        if event == "c_return" and isinstance(frame.f_trace, _Tracer):
            frame.f_trace.is_behind = False
        if event in ("call", "c_return"):
            self.point(frame)

    def go_on_profiling(self) -> None:
        """A profile function that raises is set no longer: the trace function, which comes next, sets it again."""
        if sys.getprofile() is None:
            sys.setprofile(self._profile)

    def _go_on_tracing(self, frame: FrameType, event: str) -> None:
        """The same of a trace function that has raised."""
        at: FrameType | None = frame
        while at is not None:
            if _is_traced(at.f_code) and not (at is frame and event == "return"):
                at.f_trace = _Tracer(self, at)
            at = at.f_back
        sys.settrace(self._begin)
