"""A restricted unpickler: reads plain data, and descriptions of numpy's objects in place of the objects themselves.

Never imports what a pickle names, and never calls anything that is not on the allow-list. The list has Python's
containers, numbers, texts and dates. All other names are refused, or replaced by a StandIn, which does nothing.
"""

from __future__ import annotations

import collections
import datetime
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, BinaryIO

from ..errors import BadFileError, UnsafeFileError
from .pickled_numpy import NUMPY_NAMES, PickledArray, PickledDtype
from .stand_in import StandIn

_MAX_KEY = 1000
"""Elements of the nested tuples of one key."""
_MAX_READ = 1 << 40


def _bytearray(content: Any = b"", encoding: Any = None) -> bytearray:
    """bytearray of bytes, or of Latin-1 text. A number is refused: it would be the length of the result."""
    if isinstance(content, str) and encoding == "latin-1":
        return bytearray(content, "latin-1")
    if not isinstance(content, bytes):
        raise UnsafeFileError("a pickle creates a bytearray from something other than bytes")
    return bytearray(content)


def _bytes(*content: Any) -> bytes:
    """b"", as protocol 2 pickles it. A number is refused: it would be the length of the result."""
    if content:
        raise UnsafeFileError("a pickle calls bytes with an argument")
    return b""


def _encode(text: Any, encoding: Any = None) -> bytes:
    """In place of _codecs.encode, with which protocol 2 pickles bytes: Latin-1 text only."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnsafeFileError("a pickle encodes something other than Latin-1 text")
    return text.encode("latin1")


def _moment(of: Any) -> Callable[..., Any]:
    """The constructor of a datetime or time. It returns a StandIn if the time zone is not plain data."""

    def make(*arguments: Any) -> Any:
        if len(arguments) == 2 and type(arguments[1]) is StandIn:
            return StandIn(f"datetime.{of.__name__}", (str(of(arguments[0])), arguments[1]))
        return of(*arguments)

    return make


def _members(of: type) -> Callable[..., Any]:
    """The constructor of a set or frozenset, which checks each member before it is hashed."""

    def make(items: Any = ()) -> Any:
        if type(items) not in (list, tuple, set, frozenset):
            raise UnsafeFileError(f"a pickle creates a {of.__name__} from a {type(items).__name__}")
        for item in items:
            _check_key(item)
        return of(items)

    return make


def _ordered(pairs: Any = ()) -> Any:
    if type(pairs) not in (list, tuple) or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise BadFileError("a pickled OrderedDict is not made of pairs")
    for key, _ in pairs:
        _check_key(key)
    return collections.OrderedDict(pairs)


_ALLOWED: dict[str, dict[str, Any]] = {
    "builtins": {
        "set": _members(set),
        "frozenset": _members(frozenset),
        "complex": complex,
        "slice": slice,
        "range": range,
        "bytearray": _bytearray,
        "bytes": _bytes,
    },
    "_codecs": {"encode": _encode},
    "collections": {"OrderedDict": _ordered},
    "datetime": {
        **{name: getattr(datetime, name) for name in ("date", "timedelta", "timezone")},
        **{name: _moment(getattr(datetime, name)) for name in ("datetime", "time")},
    },
    **NUMPY_NAMES,
}
"""The allow-list: the replacement for each name, by module."""


def name_of(allowed: Any) -> str:
    """The name that `allowed` replaces."""
    known = (f"{module}.{name}" for module, names in _ALLOWED.items() for name in names if names[name] is allowed)
    return next(known, "a name of Python")


def _check_key(key: Any) -> None:
    """Raise BadFileError if `key` is nested too deeply: C hashes tuples recursively, and shared ones again each time."""
    left, inside = [key], 0
    while left:
        kind = type(at := left.pop())
        if kind is tuple:
            left += at
            inside += 1 + len(at)
            if inside > _MAX_KEY:
                raise BadFileError(f"a pickled key has more than {_MAX_KEY} nested elements")


class RestrictedUnpickler(pickle._Unpickler):
    """Unpickles with the allow-list. Only containers and StandIns are filled. Only StandIns and descriptions get a state.

    `refused`: the error for the first object that is not plain data is added to it, and a StandIn replaces each such
    object. None: the error is raised. Texts of Python 2 are read as Latin-1, as by numpy.load(encoding="latin1").

    Extends the unpickler written in Python: the one in C allocates memory by sizes in the file, and hashes any key.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    proto: int

    def __init__(self, stream: BinaryIO, refused: list[UnsafeFileError] | None) -> None:
        super().__init__(stream, encoding="latin1")
        self._refused = refused

    def refuse(self, error: UnsafeFileError) -> None:
        if self._refused is None:
            raise error
        if not self._refused:
            self._refused.append(error)

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:
            raise BadFileError(f"a pickle has the opcode {error}, which plain data do not need") from error

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:  # the names of Python 2
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        allowed = _ALLOWED.get(module, {})
        if name in allowed:
            return allowed[name]
        stand_in = StandIn(f"{module}.{name}")
        self.refuse(
            UnsafeFileError(
                f"a pickle names {stand_in.name}, which is not on the allow-list; allow_pickle=True loads it, which can "
                "execute code from the file"
            )
        )
        return stand_in

    def _target(self, place: int, *kinds: type) -> Any:
        target = self.stack[place]
        if type(target) not in kinds:
            raise UnsafeFileError(f"a pickle modifies a {type(target).__name__}, which is not allowed")
        return target

    def load_append(self) -> None:
        value = self.stack.pop()
        self._target(-1, list, StandIn).append(value)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._target(-1, list, StandIn).extend(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _check_key(key)
        self._target(-1, dict, collections.OrderedDict, StandIn)[key] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        target = self._target(-1, dict, collections.OrderedDict, StandIn)
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_key(key)
            target[key] = value

    def load_dict(self) -> None:
        items = self.pop_mark()
        for key in items[::2]:
            _check_key(key)
        self.append(dict(zip(items[::2], items[1::2], strict=True)))

    def load_additems(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_key(item)
        self._target(-1, set, StandIn).update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_key(item)
        self.append(frozenset(items))

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        content = self.read(min(size, _MAX_READ))
        if len(content) != size:
            raise BadFileError(f"a pickled bytearray has {len(content)} bytes, expected {size}")
        self.append(bytearray(content))

    def load_build(self) -> None:
        state = self.stack.pop()
        self._target(-1, PickledArray, PickledDtype, StandIn).set_state(state)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if type(arguments) is not tuple:
            raise BadFileError("the arguments of a call in a pickle are not a tuple")
        if type(function) is StandIn:
            self.stack[-1] = function.called(arguments)
            return
        try:
            self.stack[-1] = function(*arguments)
        except UnsafeFileError as error:
            self.refuse(error)
            if arguments and type(arguments[0]) is StandIn:  # the class of an array
                function, arguments = arguments[0], arguments[1:]
            else:
                function = StandIn(name_of(function))
            self.stack[-1] = function.called(arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._target(-1, StandIn).called(tuple(arguments))

    def load_newobj_ex(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = self._target(-1, StandIn).called((*arguments, *([keywords] if keywords else [])))


_REFUSED_OPCODES = (
    *(pickle.INST, pickle.OBJ, pickle.PERSID, pickle.BINPERSID),
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)
_OWN_OPCODES: dict[bytes, Any] = {
    pickle.APPEND: RestrictedUnpickler.load_append,
    pickle.APPENDS: RestrictedUnpickler.load_appends,
    pickle.SETITEM: RestrictedUnpickler.load_setitem,
    pickle.SETITEMS: RestrictedUnpickler.load_setitems,
    pickle.DICT: RestrictedUnpickler.load_dict,
    pickle.ADDITEMS: RestrictedUnpickler.load_additems,
    pickle.FROZENSET: RestrictedUnpickler.load_frozenset,
    pickle.BUILD: RestrictedUnpickler.load_build,
    pickle.REDUCE: RestrictedUnpickler.load_reduce,
    pickle.NEWOBJ: RestrictedUnpickler.load_newobj,
    pickle.NEWOBJ_EX: RestrictedUnpickler.load_newobj_ex,
    pickle.BYTEARRAY8: RestrictedUnpickler.load_bytearray8,
}
_DISPATCH: dict[int, Any] = dict(pickle._Unpickler.dispatch)


for _op in _REFUSED_OPCODES:
    del _DISPATCH[_op[0]]


RestrictedUnpickler.dispatch = {**_DISPATCH, **{op[0]: run for op, run in _OWN_OPCODES.items()}}
