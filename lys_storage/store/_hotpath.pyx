# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True, binding=False
"""The compiled part: stores one new frame, and takes checksums. hotpath.py documents it; Python code does the same.

If a test has replaced SYSTEM.pwrite, frames are written by the replacement: a model of the disk sees each write.
"""

cimport cython
from cpython.buffer cimport PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from numpy import ndarray
from ..disk import SYSTEM, WRITE_BYTES

cdef extern from "unistd.h" nogil:
    ssize_t pread(int fd, void *buffer, size_t size, int64_t offset)
    ssize_t pwrite(int fd, const void *buffer, size_t size, int64_t offset)
ctypedef uint32_t (*Crc32)(uint32_t, const void *, uint64_t) noexcept nogil

cdef enum: ABSENT = 0, WRITING = 1, WRITTEN = 2, CHECKSUMMING = 5  # of journal/frame_state.py
cdef enum: NOT_STORED = 0, STORED = 1, STORED_WAKE = 2
cdef Py_ssize_t write_bytes = WRITE_BYTES
cdef object array_type = ndarray, plain_pwrite = SYSTEM.pwrite


@cython.final
@cython.freelist(8)
cdef class Bytes:
    """The buffer of an object, until this is freed."""
    cdef Py_buffer view

    def __cinit__(self, of, int flags):
        PyObject_GetBuffer(of, &self.view, flags)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef class TableState:
    """See hotpath.TableState. `lock` guards all of it."""
    cdef public object file, state_bytes, accepting_layout, dirty, lock, changed
    cdef public list in_flight, aborted
    cdef public Py_ssize_t array_offset, frame_bytes, frames, frames_written, dirty_bytes, wake_at_bytes, waiting
    cdef public Py_ssize_t prepare_frames
    cdef object known, dtype  # the layout that these are of; dtype is None if its frames take another path
    cdef tuple grid_shape, frame_shape

    def assign(self, dict values):
        for name, value in values.items():
            setattr(self, name, value)

    def write_item_fast(self, data):
        if type(data) is dict and len(<dict>data) == 1:
            for index, frame in (<dict>data).items():
                return TableState.write_fast(self, index, frame)
        return NOT_STORED

    cpdef int write_fast(self, index, frame) except -1:
        cdef Bytes data, states  # held until the end: no other thread can unmap the states
        cdef Py_ssize_t number, first, stop
        cdef object lock = self.lock
        if lock is None or type(frame) is not array_type or not lock.acquire(False):
            return NOT_STORED
        try:
            if type(self.state_bytes) is not memoryview:
                return NOT_STORED  # states that are written by pwrite
            data, states = Bytes(frame, PyBUF_ND), Bytes(self.state_bytes, PyBUF_WRITABLE)
            number = self.begin(index, frame.dtype, &data.view, &states.view)
            if number < 0:
                return NOT_STORED
            span = (number, number + 1)
            self.in_flight.append(span)
        except (BufferError, ValueError):
            return NOT_STORED  # not C-contiguous, a dtype without buffers, or a scan that has ended
        finally:
            lock.release()
        try:
            if not self.write(frame, &data.view, self.array_offset + number * self.frame_bytes, self.file.fd):
                self.aborted.append(span)
                self.settle()
                return NOT_STORED  # Python tries again, and raises the error
            lock.acquire()
            try:
                first, stop = self.dirty
                (<uint8_t *>states.view.buf)[number] = WRITTEN
                with cython.critical_section(self):  # Python code also reads it without the lock
                    self.dirty = (min(first, number), max(stop, number + 1)) if first < stop else span
                self.frames_written += 1
                self.dirty_bytes += self.frame_bytes
                self.in_flight.remove(span)
                if self.waiting:
                    self.changed.notify_all()
                return STORED_WAKE if self.dirty_bytes >= self.wake_at_bytes or self.frames_written >= self.frames else STORED
            finally:
                lock.release()
        except BaseException:
            self.aborted.append(span)
            self.settle()
            raise

    cdef Py_ssize_t begin(self, object index, object dtype, Py_buffer *view, Py_buffer *states) except -2:
        """Holding the lock: set the frame to WRITING. Its number; -1 for the general path."""
        cdef Py_ssize_t number = 0, at, length, k
        cdef int overflow = 0
        cdef object layout = self.accepting_layout
        if layout is not None and layout is not self.known:
            self.grid_shape, self.frame_shape = layout.grid.grid_shape, layout.frame_shape
            self.dtype = layout.buffer_dtype if len(self.grid_shape) else None
            self.known = layout
        cdef tuple entries = index if type(index) is tuple else (index,), grid_shape = self.grid_shape
        if (
            layout is None or layout is not self.accepting_layout or self.in_flight or len(entries) != len(grid_shape)
            or dtype is not self.dtype or view.len != self.frame_bytes or view.ndim != len(self.frame_shape)
        ):
            return -1
        for k in range(view.ndim):
            if view.shape[k] != <Py_ssize_t>self.frame_shape[k]:
                return -1
        for k in range(len(entries)):
            if type(entries[k]) is not int:
                return -1
            length, at = grid_shape[k], PyLong_AsLongLongAndOverflow(entries[k], &overflow)
            if overflow or not 0 <= at < length:
                return -1
            number = number * length + at
        if number >= states.len or (<uint8_t *>states.buf)[number] >= WRITTEN:
            return -1
        if self.prepare_frames and number % self.prepare_frames in (0, self.prepare_frames - 1):
            at = number - number % self.prepare_frames
            if all_are(<uint8_t *>states.buf + at, min(self.prepare_frames, states.len - at), ABSENT):
                return -1  # Python may write zeros for the others, too
        (<uint8_t *>states.buf)[number] = WRITING
        return number

    cdef bint write(self, object frame, Py_buffer *view, Py_ssize_t at, int fd) except -1:
        cdef Py_ssize_t sent = 0, done = 1
        if SYSTEM.pwrite is plain_pwrite:
            with nogil:
                while sent < view.len and done > 0:
                    done = pwrite(fd, <char *>view.buf + sent, min(view.len - sent, write_bytes), at + sent)
                    sent += done
            return sent == view.len
        try:
            return SYSTEM.pwrite(fd, frame, at) == view.len
        except OSError:
            return False

    def checksum_run(self, Py_ssize_t first, Py_ssize_t stop, int state, uintptr_t crc32, offset, size, table, buffer):
        if self.lock is None or not 0 <= first <= stop <= len(self.state_bytes):
            raise ValueError("no such run")
        cdef Bytes states = Bytes(self.state_bytes, PyBUF_WRITABLE), sums = Bytes(table, PyBUF_WRITABLE)
        cdef Py_ssize_t done, a, b
        cdef uint8_t *run = <uint8_t *>states.view.buf + first
        with self.lock:
            if not all_are(run, stop - first, WRITTEN):
                return False
            memset(run, CHECKSUMMING, stop - first)
        taken = bytearray(sums.view.len)
        done = read_checksums(crc32, self.file.fd, offset, size, None, taken, buffer)
        if 4 * done == sums.view.len:
            with self.lock:
                free = all_are(run, stop - first, CHECKSUMMING)
                for a, b in self.in_flight:
                    free = free and (b <= first or stop <= a)
                if free:
                    memcpy(sums.view.buf, <char *>taken, sums.view.len)
                    memset(run, state, stop - first)
                    return True
        return bytes(taken[: 4 * done])


cdef bint all_are(const uint8_t *states, Py_ssize_t count, uint8_t state) noexcept nogil:
    while count and states[count - 1] == state:
        count -= 1
    return count == 0


cpdef Py_ssize_t read_checksums(uintptr_t crc32, int fd, Py_ssize_t offset, Py_ssize_t size, numbers, sums, buffer) except -1:
    cdef Bytes which = None if numbers is None else Bytes(numbers, PyBUF_SIMPLE)
    cdef Bytes out = Bytes(sums, PyBUF_WRITABLE), piece = Bytes(buffer, PyBUF_WRITABLE)
    cdef int64_t *chosen = NULL if which is None else <int64_t *>which.view.buf
    cdef Py_ssize_t done = 0, at = 0, begin, got
    cdef Py_ssize_t count = out.view.len // 4 if which is None else min(out.view.len // 4, which.view.len // 8)
    cdef uint32_t crc = 0
    with nogil:
        while done < count:
            begin = offset + (chosen[done] if chosen != NULL else done) * size
            got = pread(fd, piece.view.buf, min(piece.view.len, size - at), begin + at)
            if got < 0 and errno == EINTR:
                continue
            if got <= 0:
                break
            crc = (<Crc32>crc32)(crc, piece.view.buf, got)
            at += got
            if at == size:
                (<uint32_t *>out.view.buf)[done] = crc
                done, at, crc = done + 1, 0, 0
    return done
