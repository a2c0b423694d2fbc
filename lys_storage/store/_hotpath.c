/* The accelerator: the fast path of a frame, and the computation of checksums.

   Optional. hotpath.py documents the interface; tests/store/test_hotpath.py compares it with the Python code. If a test has
   replaced `os.pwrite` in disk/file.py, writes call the replacement, so that a model of the disk sees each write.

   While the GIL is held and no Python code can run, an unlocked TableState.lock stays unlocked; it is therefore only tested, and
   acquired only if another thread holds it. Calls that can run the garbage collector come before the test. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdint.h>
#include <string.h>

#if !defined(_WIN32)
#include <errno.h>
#include <unistd.h>
#define HAS_PWRITE 1
#endif

enum { WRITING = 1, WRITTEN = 2, CHECKSUMMING = 5 };  /* of journal/frame_state.py */
enum { NOT_STORED = 0, STORED = 1, STORED_WAKE = 2 };
#define MOST_DIMENSIONS 64
#define MOST_BYTES ((Py_ssize_t)1 << 30)  /* of a system call, whose limit is 2 GiB minus a page */

typedef struct {
    Py_ssize_t count, length[MOST_DIMENSIONS];
} Lengths;

typedef struct {
    PyObject_HEAD
    PyObject *file, *states, *accepting_layout, *in_flight, *aborted, *dirty, *lock, *changed;
    Py_ssize_t array_offset, frame_bytes, frames, frames_written, dirty_bytes, wake_at_bytes, waiting;
    /* cached from accepting_layout */
    PyObject *layout, *dtype;
    Lengths grid, frame;
} State;

static PyObject *name_dtype, *name_fd, *name_os, *name_pwrite, *name_acquire, *name_release, *name_locked,
    *name_notify_all, *name_settle, *array_type, *file_module, *plain_pwrite;

/* -- layout and index ---------------------------------------------------------------------------------------------- */

static int lengths_of(PyObject *owner, const char *name, Lengths *lengths) {
    PyObject *shape = PyObject_GetAttrString(owner, name);
    if (shape == NULL) return -1;
    int fits = PyTuple_CheckExact(shape) && PyTuple_GET_SIZE(shape) <= MOST_DIMENSIONS;
    for (Py_ssize_t k = 0; fits && k < PyTuple_GET_SIZE(shape); k++) {
        lengths->length[k] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, k));
        if (lengths->length[k] == -1 && PyErr_Occurred()) {
            Py_DECREF(shape);
            return -1;
        }
    }
    lengths->count = fits ? PyTuple_GET_SIZE(shape) : -1;
    Py_DECREF(shape);
    return 0;
}

/* Cache a layout. dtype becomes NULL if it has no fast path. Reads Python attributes, so other threads may run. */
static int remember(State *self, PyObject *layout) {
    Lengths lengths, frame;
    Py_INCREF(layout);
    PyObject *grid = PyObject_GetAttrString(layout, "grid");
    PyObject *dtype = grid ? PyObject_GetAttrString(layout, "buffer_dtype") : NULL;
    int failed = dtype == NULL || lengths_of(grid, "grid_shape", &lengths) || lengths_of(layout, "frame_shape", &frame);
    Py_XDECREF(grid);
    if (failed) {
        Py_XDECREF(dtype);
        Py_DECREF(layout);
        return -1;
    }
    if (dtype == Py_None || lengths.count < 1 || frame.count < 0 || self->frame_bytes > MOST_BYTES) Py_CLEAR(dtype);
    self->grid = lengths;
    self->frame = frame;
    Py_XSETREF(self->dtype, dtype);
    Py_XSETREF(self->layout, layout);
    return 0;
}

/* The number of the frame, -1 to use the general path. */
static Py_ssize_t number_of(State *self, PyObject *index) {
    Py_ssize_t number = 0;
    int is_tuple = PyTuple_CheckExact(index);
    if ((is_tuple ? PyTuple_GET_SIZE(index) : 1) != self->grid.count) return -1;
    for (Py_ssize_t k = 0; k < self->grid.count; k++) {
        PyObject *entry = is_tuple ? PyTuple_GET_ITEM(index, k) : index;
        if (!PyLong_CheckExact(entry)) return -1;
        Py_ssize_t i = PyLong_AsSsize_t(entry);
        if (i == -1 && PyErr_Occurred()) PyErr_Clear();
        if (i < 0 || i >= self->grid.length[k]) return -1;
        number = number * self->grid.length[k] + i;
    }
    return number;
}

/* Whether the bytes of `frame` in memory are those of the file: 1, and the caller releases `view`; 0; or -1 with an exception. */
static int fits(State *self, PyObject *frame, Py_buffer *view) {
    if ((PyObject *)Py_TYPE(frame) != array_type) return 0;
    PyObject *dtype = PyObject_GetAttr(frame, name_dtype);
    if (dtype == NULL) return -1;
    int same = dtype == self->dtype;
    Py_DECREF(dtype);
    if (!same) return 0;
    if (PyObject_GetBuffer(frame, view, PyBUF_ND)) {  /* not C-contiguous */
        PyErr_Clear();
        return 0;
    }
    same = view->ndim == self->frame.count && view->len == self->frame_bytes;
    for (Py_ssize_t k = 0; same && k < view->ndim; k++) same = view->shape[k] == self->frame.length[k];
    if (!same) PyBuffer_Release(view);
    return same;
}

/* -- one frame ------------------------------------------------------------------------------------------------- */

static int call(PyObject *object, PyObject *name) {
    PyObject *result = PyObject_CallMethodNoArgs(object, name);
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}

/* Keeps a pending exception, which takes precedence over one of the call. An interrupt can come only in the call. */
static int abort_write(State *self, PyObject *span) {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    int failed = PyList_Append(self->aborted, span) || call((PyObject *)self, name_settle);
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
        return -1;
    }
    return failed ? -1 : 0;
}

/* 1: all bytes were written; 0: try again in Python, which raises the error; -1 with an exception. */
static int write_frame(State *self, PyObject *frame, Py_buffer *view, Py_ssize_t number) {
    int written = -1;
    Py_ssize_t at = self->array_offset + number * self->frame_bytes;
    PyObject *os = PyObject_GetAttr(file_module, name_os), *pwrite_now = os ? PyObject_GetAttr(os, name_pwrite) : NULL;
    PyObject *fd = pwrite_now ? PyObject_GetAttr(self->file, name_fd) : NULL, *done = NULL;
#ifdef HAS_PWRITE
    if (fd != NULL && pwrite_now == plain_pwrite) {
        int descriptor = (int)PyLong_AsLong(fd);
        ssize_t size = 0;
        if (!PyErr_Occurred()) {
            Py_BEGIN_ALLOW_THREADS
            size = pwrite(descriptor, view->buf, (size_t)view->len, (off_t)at);
            Py_END_ALLOW_THREADS
            written = size == view->len;
        }
    } else
#endif
    if (fd != NULL) {
        PyObject *offset = PyLong_FromSsize_t(at), *arguments[] = {fd, frame, offset};
        done = offset ? PyObject_Vectorcall(pwrite_now, arguments, 3, NULL) : NULL;
        Py_XDECREF(offset);
        if (done != NULL) {
            written = PyLong_AsSsize_t(done) == self->frame_bytes;
            if (PyErr_Occurred()) written = -1;
        }
    }
    Py_XDECREF(done);
    Py_XDECREF(fd);
    Py_XDECREF(pwrite_now);
    Py_XDECREF(os);
    if (written < 0 && (PyErr_ExceptionMatches(PyExc_OSError) || PyErr_ExceptionMatches(PyExc_AttributeError))) {
        PyErr_Clear();
        written = 0;
    }
    return written;
}

/* TableState.lock: 1 held, 0 free, -1 with an exception. */
static int is_locked(State *self) {
    PyObject *locked = PyObject_CallMethodNoArgs(self->lock, name_locked);
    if (locked == NULL) return -1;
    int answer = locked == Py_True;
    Py_DECREF(locked);
    return answer;
}

/* Set the frame to WRITING and put it in flight: 1; 0 to use the general path; -1 with an exception. */
static int begin(State *self, PyObject *layout, PyObject *span, Py_ssize_t number, Py_buffer *states) {
    uint8_t *state = (uint8_t *)states->buf + number;
    int locked = is_locked(self);
    if (locked) return locked < 0 ? -1 : 0;
    if (self->accepting_layout != layout || PyList_GET_SIZE(self->in_flight) || number >= states->len || *state >= WRITTEN) return 0;
    if (PyList_Append(self->in_flight, span)) return -1;
    *state = WRITING;
    return 1;
}

/* A new tuple: the span that covers `dirty` and frame `number`. */
static PyObject *joined(PyObject *dirty, Py_ssize_t number) {
    if (!PyTuple_CheckExact(dirty) || PyTuple_GET_SIZE(dirty) != 2) {
        PyErr_SetString(PyExc_TypeError, "dirty is not a span");
        return NULL;
    }
    Py_ssize_t first = PyLong_AsSsize_t(PyTuple_GET_ITEM(dirty, 0)), stop = PyLong_AsSsize_t(PyTuple_GET_ITEM(dirty, 1));
    if (PyErr_Occurred()) return NULL;
    if (first >= stop) first = stop = number;
    return Py_BuildValue("(nn)", number < first ? number : first, number + 1 > stop ? number + 1 : stop);
}

/* Set the frame to WRITTEN and end its flight. The lock is held or known to be free. Steals the reference to `dirty`. */
static int end(State *self, PyObject *span, PyObject *dirty, Py_ssize_t number, Py_buffer *states) {
    Py_ssize_t at = 0, count = PyList_GET_SIZE(self->in_flight);
    while (at < count && PyList_GET_ITEM(self->in_flight, at) != span) at++;
    if (PyList_SetSlice(self->in_flight, at, at + 1, NULL)) {
        Py_DECREF(dirty);
        return -1;
    }
    ((uint8_t *)states->buf)[number] = WRITTEN;
    self->frames_written += 1;
    self->dirty_bytes += self->frame_bytes;
    Py_SETREF(self->dirty, dirty);
    return 0;
}

/* end() if another thread holds the lock, or a thread waits for the end of the flight. */
static int end_in_turn(State *self, PyObject *span, Py_ssize_t number, Py_buffer *states) {
    PyObject *lock = self->lock, *type, *value, *trace;
    if (call(lock, name_acquire)) return -1;
    PyObject *dirty = joined(self->dirty, number);
    int failed = dirty == NULL || end(self, span, dirty, number, states);
    if (!failed && self->waiting) failed = call(self->changed, name_notify_all);
    PyErr_Fetch(&type, &value, &trace);
    failed |= call(lock, name_release);
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
    }
    return failed ? -1 : 0;
}

static int put_in_flight(State *self, PyObject *frame, Py_buffer *view, PyObject *span, Py_ssize_t number, Py_buffer *states) {
    int done = write_frame(self, frame, view, number);
    if (done == 1) {
        PyObject *known = self->dirty, *dirty;
        Py_INCREF(known);
        dirty = joined(known, number);
        int locked = dirty ? is_locked(self) : -1;
        if (locked == 0 && !self->waiting && self->dirty == known) {
            done = end(self, span, dirty, number, states) ? -1 : 1;
        } else {
            Py_XDECREF(dirty);
            done = locked < 0 || end_in_turn(self, span, number, states) ? -1 : 1;
        }
        Py_DECREF(known);
    }
    if (done != 1) return abort_write(self, span) ? -1 : done;
    return self->dirty_bytes >= self->wake_at_bytes || self->frames_written >= self->frames ? STORED_WAKE : STORED;
}

static int put(State *self, PyObject *index, PyObject *frame) {
    PyObject *layout = self->accepting_layout;
    if (layout == NULL || layout == Py_None) return NOT_STORED;
    if (layout != self->layout && remember(self, layout)) return -1;
    if (self->dtype == NULL) return NOT_STORED;
    if (!self->file || !self->states || !self->in_flight || !self->aborted || !self->dirty || !self->lock || !self->changed) return NOT_STORED;
    if (!PyMemoryView_Check(self->states)) return NOT_STORED;  /* states that are written by pwrite */
    Py_ssize_t number = number_of(self, index);
    if (number < 0) return NOT_STORED;
    Py_buffer states, view;
    int result = fits(self, frame, &view);
    if (result != 1) return result;
    if (PyObject_GetBuffer(self->states, &states, PyBUF_WRITABLE)) {  /* released: the scan has ended */
        PyErr_Clear();
        PyBuffer_Release(&view);
        return NOT_STORED;
    }
    Py_INCREF(layout);
    PyObject *span = Py_BuildValue("(nn)", number, number + 1);
    result = span ? begin(self, layout, span, number, &states) : -1;
    if (result == 1) result = put_in_flight(self, frame, &view, span, number, &states);
    Py_XDECREF(span);
    Py_DECREF(layout);
    PyBuffer_Release(&states);
    PyBuffer_Release(&view);
    return result;
}

static PyObject *write_fast(State *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "write_fast(index, frame)");
        return NULL;
    }
    int result = put(self, arguments[0], arguments[1]);
    return result < 0 ? NULL : PyLong_FromLong(result);
}

static PyObject *write_item_fast(State *self, PyObject *data) {
    PyObject *index, *frame;
    Py_ssize_t at = 0;
    if (!PyDict_CheckExact(data) || PyDict_GET_SIZE(data) != 1) return PyLong_FromLong(NOT_STORED);
    PyDict_Next(data, &at, &index, &frame);
    Py_INCREF(index);
    Py_INCREF(frame);
    int result = put(self, index, frame);
    Py_DECREF(index);
    Py_DECREF(frame);
    return result < 0 ? NULL : PyLong_FromLong(result);
}

/* -- checksums ------------------------------------------------------------------------------------------------- */

typedef uint32_t (*Crc32)(uint32_t, const unsigned char *, uint64_t);

/* Compute the CRC-32 of `count` units of `size` bytes, read through `buffer`: contiguous units from `offset`, or, if `numbers` is
   not NULL, the units with these numbers. Returns how many; fewer if a read fails. Runs without the GIL. */
static Py_ssize_t sum_units(
    int fd, Crc32 crc32, Py_ssize_t offset, Py_ssize_t size, const int64_t *numbers, Py_ssize_t count, uint32_t *sums,
    Py_buffer *buffer
) {
    Py_ssize_t done = 0;
#ifdef HAS_PWRITE
    for (; done < count && size > 0 && buffer->len > 0; done++) {
        uint32_t sum = 0;
        Py_ssize_t at = 0, begin = offset + (numbers ? (Py_ssize_t)numbers[done] : done) * size;
        while (at < size) {
            Py_ssize_t wanted = size - at < buffer->len ? size - at : buffer->len;
            ssize_t got = pread(fd, buffer->buf, (size_t)wanted, (off_t)(begin + at));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return done;
            sum = crc32(sum, buffer->buf, (uint64_t)got);
            at += got;
        }
        sums[done] = sum;
    }
#endif
    return done;
}

static PyObject *read_checksums(PyObject *module, PyObject *args) {
    int fd;
    unsigned long long address;
    Py_ssize_t offset, size, done;
    Py_buffer numbers, sums, buffer;
    if (!PyArg_ParseTuple(args, "Kinny*w*w*", &address, &fd, &offset, &size, &numbers, &sums, &buffer)) return NULL;
    Py_ssize_t count = numbers.len / 8 < sums.len / 4 ? numbers.len / 8 : sums.len / 4;
    Py_BEGIN_ALLOW_THREADS
    done = sum_units(fd, (Crc32)(uintptr_t)address, offset, size, numbers.buf, count, sums.buf, &buffer);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&sums);
    PyBuffer_Release(&buffer);
    return PyLong_FromSsize_t(done);
}

/* Make sure that no other thread holds TableState.lock: 1 acquired, release it; 0 it is free; -1 with an exception. */
static int hold(State *self) {
    int locked = is_locked(self);
    return locked == 1 ? (call(self->lock, name_acquire) ? -1 : 1) : locked;
}

static int all_are(const uint8_t *states, Py_ssize_t count, uint8_t state) {
    while (count && states[count - 1] == state) count--;
    return count == 0;
}

static int is_in_flight(State *self, Py_ssize_t first, Py_ssize_t stop) {
    for (Py_ssize_t k = 0; k < PyList_GET_SIZE(self->in_flight); k++) {
        Py_ssize_t a, b;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(self->in_flight, k), "nn", &a, &b)) {
            PyErr_Clear();
            return 1;
        }
        if (a < stop && first < b) return 1;
    }
    return 0;
}

/* If all states of a run are `before`, set them to `after` and copy `sums` to `table`: 1; otherwise 0; -1 with an exception. */
static int change_run(
    State *self, uint8_t *states, Py_ssize_t first, Py_ssize_t stop, int before, int after, Py_buffer *table, uint32_t *sums
) {
    int held = hold(self);
    if (held < 0) return -1;
    int done = all_are(states + first, stop - first, (uint8_t)before) && (sums == NULL || !is_in_flight(self, first, stop));
    if (done) {
        if (sums != NULL) memcpy(table->buf, sums, (size_t)table->len);
        memset(states + first, after, (size_t)(stop - first));
    }
    if (held && call(self->lock, name_release)) return -1;
    return done;
}

static PyObject *checksum_run(State *self, PyObject *args) {
    Py_ssize_t first, stop, offset, size;
    int state;
    unsigned long long address;
    Py_buffer table, buffer, states;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "nniKnnw*w*", &first, &stop, &state, &address, &offset, &size, &table, &buffer)) return NULL;
    if (!self->states || !self->file || !self->in_flight || !self->lock) goto end;
    if (!PyMemoryView_Check(self->states) || PyObject_GetBuffer(self->states, &states, PyBUF_WRITABLE)) goto end;
    PyObject *fd = PyObject_GetAttr(self->file, name_fd);
    int descriptor = fd ? (int)PyLong_AsLong(fd) : -1;
    Py_XDECREF(fd);
    Py_ssize_t count = table.len / 4, summed = 0;
    uint32_t *sums = PyMem_RawMalloc(table.len ? (size_t)table.len : 1);
    if (sums == NULL) PyErr_NoMemory();
    if (PyErr_Occurred() || first < 0 || first > stop || stop > states.len) goto end_states;
    int begun = change_run(self, states.buf, first, stop, WRITTEN, CHECKSUMMING, NULL, NULL);
    if (begun == 1) {
        Py_BEGIN_ALLOW_THREADS
        summed = sum_units(descriptor, (Crc32)(uintptr_t)address, offset, size, NULL, count, sums, &buffer);
        Py_END_ALLOW_THREADS
        int ended = summed == count ? change_run(self, states.buf, first, stop, CHECKSUMMING, state, &table, sums) : 0;
        if (ended == 1)
            result = Py_NewRef(Py_True);
        else if (ended == 0)
            result = PyBytes_FromStringAndSize((char *)sums, 4 * summed);
    } else if (begun == 0) {
        result = Py_NewRef(Py_False);
    }
end_states:
    PyMem_RawFree(sums);
    PyBuffer_Release(&states);
end:
    PyBuffer_Release(&table);
    PyBuffer_Release(&buffer);
    if (result == NULL && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no such run, or states that are written by pwrite");
    return result;
}

/* -- several attributes in one step -------------------------------------------------------------------------------- */

static PyObject *assign(State *self, PyObject *values) {
    PyObject *name, *value;
    Py_ssize_t at = 0;
    if (!PyDict_CheckExact(values)) return PyErr_Format(PyExc_TypeError, "assign(dict)");
    while (PyDict_Next(values, &at, &name, &value))
        if (PyObject_SetAttr((PyObject *)self, name, value)) return NULL;
    Py_RETURN_NONE;
}

/* -- the type -------------------------------------------------------------------------------------------------- */

#define OBJECT(name, field) {name, T_OBJECT_EX, offsetof(State, field), 0, NULL}
#define SIZE(name, field) {name, T_PYSSIZET, offsetof(State, field), 0, NULL}
static PyMemberDef members[] = {
    OBJECT("file", file), OBJECT("state_bytes", states), OBJECT("accepting_layout", accepting_layout), OBJECT("in_flight", in_flight),
    OBJECT("aborted", aborted), OBJECT("dirty", dirty), OBJECT("lock", lock), OBJECT("changed", changed),
    SIZE("array_offset", array_offset), SIZE("frame_bytes", frame_bytes), SIZE("frames", frames),
    SIZE("frames_written", frames_written), SIZE("dirty_bytes", dirty_bytes), SIZE("wake_at_bytes", wake_at_bytes),
    SIZE("waiting", waiting), {NULL},
};

#define EACH_OBJECT(apply) \
    apply(self->file); apply(self->states); apply(self->accepting_layout); apply(self->in_flight); apply(self->aborted); \
    apply(self->dirty); apply(self->lock); apply(self->changed); apply(self->layout); apply(self->dtype)

static int traverse(State *self, visitproc visit, void *arg) {
    EACH_OBJECT(Py_VISIT);
    return 0;
}

static int clear(State *self) {
    EACH_OBJECT(Py_CLEAR);
    return 0;
}

static void dealloc(State *self) {
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
    {"write_fast", (PyCFunction)(void (*)(void))write_fast, METH_FASTCALL, "write_fast(index, frame) -> 0, 1, 2: as in hotpath.py"},
    {"write_item_fast", (PyCFunction)write_item_fast, METH_O, "write_item_fast({index: frame}) -> 0, 1, 2: as in hotpath.py"},
    {"assign", (PyCFunction)assign, METH_O, "As in hotpath.py."},
    {"checksum_run", (PyCFunction)checksum_run, METH_VARARGS, "As in hotpath.py."},
    {NULL},
};

static PyTypeObject state_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "lys_storage.store._hotpath.TableState",
    .tp_basicsize = sizeof(State),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "See hotpath.TableState.",
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_members = members,
    .tp_methods = methods,
};

static PyMethodDef functions[] = {
    {"read_checksums", read_checksums, METH_VARARGS,
     "read_checksums(crc32's address, fd, offset, size, numbers, sums, buffer) -> how many. Stores the CRC-32 of the units of\n"
     "`size` bytes with these int64 numbers, counted from `offset`, in the uint32 array `sums`. Reads through `buffer`, without\n"
     "the GIL. Stops if a read fails."},
    {NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "lys_storage.store._hotpath", "See _hotpath.c.", -1, functions,
};

PyMODINIT_FUNC PyInit__hotpath(void) {
    struct { PyObject **name; const char *text; } names[] = {
        {&name_dtype, "dtype"}, {&name_fd, "fd"}, {&name_os, "os"}, {&name_pwrite, "pwrite"}, {&name_acquire, "acquire"},
        {&name_release, "release"}, {&name_locked, "locked"}, {&name_notify_all, "notify_all"}, {&name_settle, "settle"},
    };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if ((*names[k].name = PyUnicode_InternFromString(names[k].text)) == NULL) return NULL;
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL || (array_type = PyObject_GetAttrString(numpy, "ndarray")) == NULL) return NULL;
    Py_DECREF(numpy);
    if ((file_module = PyImport_ImportModule("lys_storage.disk.file")) == NULL) return NULL;
    PyObject *os = PyImport_ImportModule("os");
    if (os == NULL) return NULL;
    plain_pwrite = PyObject_GetAttr(os, name_pwrite);
    Py_DECREF(os);
    if (plain_pwrite == NULL) PyErr_Clear();
    if (PyType_Ready(&state_type)) return NULL;
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL || PyModule_AddObjectRef(module, "TableState", (PyObject *)&state_type)) return NULL;
    return module;
}
