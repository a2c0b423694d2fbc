"""Raises KeyboardInterrupt at the n-th point of a call where CPython can deliver a signal.

CPython runs a signal handler when a function begins or a generator resumes, after a call of a compiled function, and when a
loop jumps back. So it cannot interrupt a `with` statement between the end of a compiled `__enter__` and the block, nor
between the block and `__exit__`; a trace function that raises at lines or instructions would. Here the profile function
raises in the call itself, and the trace function raises when a loop jumps back and after the call of a type. Only the
calling thread is interrupted, and only in code of lys_storage and contextlib.
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
    """The offsets of the instructions after which CPython checks for signals."""

    def looks(name: str) -> bool:
        is_call = name.startswith("CALL") and not name.startswith("CALL_INTRINSIC")
        return is_call or ("JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name)

    return frozenset(each.offset for each in dis.get_instructions(code) if looks(each.opname))


@cache
def _handlers(code: CodeType) -> dict[int, int]:
    """The target of the exception handler of each instruction that has one, by offset."""
    entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined,unused-ignore]
    return {at: entry.target for entry in entries for at in range(entry.start, entry.end, 2)}


class _Tracer:
    """Traces one frame. `is_behind`: CPython checks for signals after its last instruction, and no other event came."""

    def __init__(self, owner: Interrupts, frame: FrameType, *, is_behind: bool = False) -> None:
        self._owner, self._checked, self.is_behind = owner, _checked(frame.f_code), is_behind
        self._last = frame.f_lasti
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> _Tracer:
        self._owner.go_on_profiling()
        if event == "opcode":
            handlers, last, was = _handlers(frame.f_code), self._last, self.is_behind
            self._last, self.is_behind = frame.f_lasti, frame.f_lasti in self._checked
            # An interrupt after a call goes to the call's handler; an exception raised here goes to the next instruction's.
            if was and handlers.get(last) == handlers.get(frame.f_lasti):
                self._owner.point(frame)
        elif event == "exception":
            self.is_behind = False
        return self


class Interrupts:
    """`at`: the numbers of the points, from 1, where the call is interrupted. `seen`: the number of points so far."""

    def __init__(self, at: Collection[int] = ()) -> None:
        self._at = frozenset(at)
        self.seen = 0
        self.where: list[str] = []
        # CPython frees the function that raises while it still uses it, if nothing else refers to it.
        self._kept = self._profile, self._begin

    def run(self, call: Callable[[], Any]) -> Any:
        """Run `call` with the interrupts. Raises its exceptions."""
        before = sys.gettrace()  # a coverage measurement continues afterwards
        try:
            profile, begin = self._kept
            sys.setprofile(profile)
            sys.settrace(begin)
            return call()
        finally:
            sys.setprofile(None)  # first: each of the two functions sets the other one again
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
            caller.is_behind = False  # CPython does not check for signals after the call of a Python function
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
        """Set the profile function again: CPython removes it when it raises. The trace function, which runs next, calls this."""
        if sys.getprofile() is None:
            sys.setprofile(self._kept[0])

    def _go_on_tracing(self, frame: FrameType, event: str) -> None:
        """Set the trace function again after it has raised."""
        at: FrameType | None = frame
        while at is not None:
            if _is_traced(at.f_code) and not (at is frame and event == "return"):
                at.f_trace = _Tracer(self, at)
            at = at.f_back
        sys.settrace(self._kept[1])
