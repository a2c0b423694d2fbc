/* The way of nearly every frame, and the reading of checksums, without the interpreter.

   Optional: where this was not built, Python does the same (hotpath.py says what, tests/core/test_compiled.py that it is the
   same). What the system is asked for goes through _fs.os where somebody has put something in the place of its pwrite.

   Whoever holds the interpreter's lock, finds State._lock free, and lets no other code run meanwhile, has as good as that
   lock: so it is looked at, and taken only where somebody has it. What may collect garbage comes before the look. */

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

enum { COMING = 1, WRITTEN = 2, CHECKING = 5 };  /* marks of _journal */
enum { NOT_STORED = 0, STORED = 1, TELL = 2 };
#define MOST_DIMENSIONS 64
#define MOST_BYTES ((Py_ssize_t)1 << 30)  /* of a call of the system: it takes 2 GiB less a page */

typedef struct {
    Py_ssize_t count, length[MOST_DIMENSIONS];
} Lengths;

typedef struct {
    PyObject_HEAD
    PyObject *file, *marks, *open_form, *in_flight, *fresh, *lock, *changed;
    Py_ssize_t array_offset, frame_bytes, frames, frames_written, fresh_bytes, tell_at, waiting;
    /* what is remembered of open_form */
    PyObject *form, *dtype;
    Lengths grid, frame;
} State;

static PyObject *name_dtype, *name_fd, *name_os, *name_pwrite, *name_acquire, *name_release, *name_locked,
    *name_notify_all, *name_flight_failed, *array_type, *fs_module, *plain_pwrite;

/* -- what a form says ------------------------------------------------------------------------------------------ */

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

/* Of a form that takes no frame as it lies, dtype becomes NULL. The form says what it is in Python, which may let others run. */
static int remember(State *self, PyObject *form) {
    Lengths lengths, frame;
    Py_INCREF(form);
    PyObject *grid = PyObject_GetAttrString(form, "grid");
    PyObject *dtype = grid ? PyObject_GetAttrString(form, "buffer_dtype") : NULL;
    int failed = dtype == NULL || lengths_of(grid, "grid_shape", &lengths) || lengths_of(form, "frame_shape", &frame);
    Py_XDECREF(grid);
    if (failed) {
        Py_XDECREF(dtype);
        Py_DECREF(form);
        return -1;
    }
    if (dtype == Py_None || lengths.count < 1 || frame.count < 0 || self->frame_bytes > MOST_BYTES) Py_CLEAR(dtype);
    self->grid = lengths;
    self->frame = frame;
    Py_XSETREF(self->dtype, dtype);
    Py_XSETREF(self->form, form);
    return 0;
}

/* The number of the frame, -1 where Python has to see. */
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

/* Whether `frame` can be written as it lies: 1, and `view` is to be released; 0; or -1 with an exception. */
static int fits(State *self, PyObject *frame, Py_buffer *view) {
    if ((PyObject *)Py_TYPE(frame) != array_type) return 0;
    PyObject *dtype = PyObject_GetAttr(frame, name_dtype);
    if (dtype == NULL) return -1;
    int same = dtype == self->dtype;
    Py_DECREF(dtype);
    if (!same) return 0;
    if (PyObject_GetBuffer(frame, view, PyBUF_ND)) {  /* not in C order */
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

/* An exception is kept over the call, and comes before one of the call. */
static int flight_failed(State *self, PyObject *span) {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *result = PyObject_CallMethodOneArg((PyObject *)self, name_flight_failed, span);
    Py_XDECREF(result);
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
        return -1;
    }
    return result == NULL ? -1 : 0;
}

/* Whether all of it was written: 1; 0 where it has to be tried again in Python, which says what is wrong; -1 with an exception. */
static int write_frame(State *self, PyObject *frame, Py_buffer *view, Py_ssize_t number) {
    int written = -1;
    Py_ssize_t at = self->array_offset + number * self->frame_bytes;
    PyObject *os = PyObject_GetAttr(fs_module, name_os), *pwrite_now = os ? PyObject_GetAttr(os, name_pwrite) : NULL;
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

/* State._lock: 1 held by somebody, 0 free, -1 with an exception. */
static int is_locked(State *self) {
    PyObject *locked = PyObject_CallMethodNoArgs(self->lock, name_locked);
    if (locked == NULL) return -1;
    int answer = locked == Py_True;
    Py_DECREF(locked);
    return answer;
}

/* COMING, and in flight: 1; 0 where it is left to Python. */
static int begin(State *self, PyObject *form, PyObject *span, Py_ssize_t number, Py_buffer *marks) {
    uint8_t *mark = (uint8_t *)marks->buf + number;
    int locked = is_locked(self);
    if (locked) return locked < 0 ? -1 : 0;
    if (self->open_form != form || PyList_GET_SIZE(self->in_flight) || number >= marks->len || *mark >= WRITTEN) return 0;
    if (PyList_Append(self->in_flight, span)) return -1;
    *mark = COMING;
    return 1;
}

/* The span of `fresh` and the frame `number`, as a new tuple. */
static PyObject *joined(PyObject *fresh, Py_ssize_t number) {
    if (!PyTuple_CheckExact(fresh) || PyTuple_GET_SIZE(fresh) != 2) {
        PyErr_SetString(PyExc_TypeError, "fresh is no span");
        return NULL;
    }
    Py_ssize_t first = PyLong_AsSsize_t(PyTuple_GET_ITEM(fresh, 0)), stop = PyLong_AsSsize_t(PyTuple_GET_ITEM(fresh, 1));
    if (PyErr_Occurred()) return NULL;
    if (first >= stop) first = stop = number;
    return Py_BuildValue("(nn)", number < first ? number : first, number + 1 > stop ? number + 1 : stop);
}

/* WRITTEN, and no longer in flight. With the lock, or as good as with it. `fresh` is stolen. */
static int end(State *self, PyObject *span, PyObject *fresh, Py_ssize_t number, Py_buffer *marks) {
    Py_ssize_t at = 0, count = PyList_GET_SIZE(self->in_flight);
    while (at < count && PyList_GET_ITEM(self->in_flight, at) != span) at++;
    if (PyList_SetSlice(self->in_flight, at, at + 1, NULL)) {
        Py_DECREF(fresh);
        return -1;
    }
    ((uint8_t *)marks->buf)[number] = WRITTEN;
    self->frames_written += 1;
    self->fresh_bytes += self->frame_bytes;
    Py_SETREF(self->fresh, fresh);
    return 0;
}

/* end() where the lock is held by somebody, or somebody waits for the end of the flight. */
static int end_in_turn(State *self, PyObject *span, Py_ssize_t number, Py_buffer *marks) {
    PyObject *lock = self->lock, *type, *value, *trace;
    if (call(lock, name_acquire)) return -1;
    PyObject *fresh = joined(self->fresh, number);
    int failed = fresh == NULL || end(self, span, fresh, number, marks);
    if (!failed && self->waiting) failed = call(self->changed, name_notify_all);
    PyErr_Fetch(&type, &value, &trace);
    failed |= call(lock, name_release);
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
    }
    return failed ? -1 : 0;
}

static int put_in_flight(State *self, PyObject *frame, Py_buffer *view, PyObject *span, Py_ssize_t number, Py_buffer *marks) {
    int done = write_frame(self, frame, view, number);
    if (done == 1) {
        PyObject *known = self->fresh, *fresh;
        Py_INCREF(known);
        fresh = joined(known, number);
        int locked = fresh ? is_locked(self) : -1;
        if (locked == 0 && !self->waiting && self->fresh == known) {
            done = end(self, span, fresh, number, marks) ? -1 : 1;
        } else {
            Py_XDECREF(fresh);
            done = locked < 0 || end_in_turn(self, span, number, marks) ? -1 : 1;
        }
        Py_DECREF(known);
    }
    if (done != 1) return flight_failed(self, span) ? -1 : done;
    return self->fresh_bytes >= self->tell_at || self->frames_written >= self->frames ? TELL : STORED;
}

static int put(State *self, PyObject *index, PyObject *frame) {
    PyObject *form = self->open_form;
    if (form == NULL || form == Py_None) return NOT_STORED;
    if (form != self->form && remember(self, form)) return -1;
    if (self->dtype == NULL) return NOT_STORED;
    if (!self->file || !self->marks || !self->in_flight || !self->fresh || !self->lock || !self->changed) return NOT_STORED;
    if (!PyMemoryView_Check(self->marks)) return NOT_STORED;  /* marks that are written one by one */
    Py_ssize_t number = number_of(self, index);
    if (number < 0) return NOT_STORED;
    Py_buffer marks, view;
    int result = fits(self, frame, &view);
    if (result != 1) return result;
    if (PyObject_GetBuffer(self->marks, &marks, PyBUF_WRITABLE)) {  /* released: it is over */
        PyErr_Clear();
        PyBuffer_Release(&view);
        return NOT_STORED;
    }
    Py_INCREF(form);
    PyObject *span = Py_BuildValue("(nn)", number, number + 1);
    result = span ? begin(self, form, span, number, &marks) : -1;
    if (result == 1) result = put_in_flight(self, frame, &view, span, number, &marks);
    Py_XDECREF(span);
    Py_DECREF(form);
    PyBuffer_Release(&marks);
    PyBuffer_Release(&view);
    return result;
}

static PyObject *put_one(State *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "put_one(index, frame)");
        return NULL;
    }
    int result = put(self, arguments[0], arguments[1]);
    return result < 0 ? NULL : PyLong_FromLong(result);
}

static PyObject *put_only(State *self, PyObject *data) {
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

/* The CRC-32 of `count` units of `size` bytes from `offset` on, by way of `buffer`; how many, fewer where a read fails.
   Without the interpreter's lock. */
static Py_ssize_t sum_units(
    int fd, Crc32 crc32, Py_ssize_t offset, Py_ssize_t size, Py_ssize_t count, uint32_t *sums, Py_buffer *buffer
) {
    Py_ssize_t done = 0;
#ifdef HAS_PWRITE
    for (; done < count && size > 0 && buffer->len > 0; done++) {
        uint32_t sum = 0;
        Py_ssize_t at = 0;
        while (at < size) {
            Py_ssize_t wanted = size - at < buffer->len ? size - at : buffer->len;
            ssize_t got = pread(fd, buffer->buf, (size_t)wanted, (off_t)(offset + done * size + at));
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

static PyObject *checksums(PyObject *module, PyObject *args) {
    int fd;
    unsigned long long address;
    Py_ssize_t offset, size, done;
    Py_buffer sums, buffer;
    if (!PyArg_ParseTuple(args, "Kinnw*w*", &address, &fd, &offset, &size, &sums, &buffer)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    done = sum_units(fd, (Crc32)(uintptr_t)address, offset, size, sums.len / 4, sums.buf, &buffer);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&sums);
    PyBuffer_Release(&buffer);
    return PyLong_FromSsize_t(done);
}

/* Hold State._lock, or as good as hold it: 1 where it is to be let go, 0 where it is not, -1 with an exception. */
static int hold(State *self) {
    int locked = is_locked(self);
    return locked == 1 ? (call(self->lock, name_acquire) ? -1 : 1) : locked;
}

static int all_are(const uint8_t *marks, Py_ssize_t count, uint8_t mark) {
    while (count && marks[count - 1] == mark) count--;
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

/* The marks of a run, where it is still as it was left: from `before` to `after`, and `sums` into `table`. 1 done, 0, -1. */
static int change_run(
    State *self, uint8_t *marks, Py_ssize_t first, Py_ssize_t stop, int before, int after, Py_buffer *table, uint32_t *sums
) {
    int held = hold(self);
    if (held < 0) return -1;
    int done = all_are(marks + first, stop - first, (uint8_t)before) && (sums == NULL || !is_in_flight(self, first, stop));
    if (done) {
        if (sums != NULL) memcpy(table->buf, sums, (size_t)table->len);
        memset(marks + first, after, (size_t)(stop - first));
    }
    if (held && call(self->lock, name_release)) return -1;
    return done;
}

static PyObject *check_run(State *self, PyObject *args) {
    Py_ssize_t first, stop, offset, size;
    int mark;
    unsigned long long address;
    Py_buffer table, buffer, marks;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "nniKnnw*w*", &first, &stop, &mark, &address, &offset, &size, &table, &buffer)) return NULL;
    if (!self->marks || !self->file || !self->in_flight || !self->lock) goto end;
    if (!PyMemoryView_Check(self->marks) || PyObject_GetBuffer(self->marks, &marks, PyBUF_WRITABLE)) goto end;
    PyObject *fd = PyObject_GetAttr(self->file, name_fd);
    int descriptor = fd ? (int)PyLong_AsLong(fd) : -1;
    Py_XDECREF(fd);
    Py_ssize_t count = table.len / 4, summed = 0;
    uint32_t *sums = PyMem_RawMalloc(table.len ? (size_t)table.len : 1);
    if (sums == NULL) PyErr_NoMemory();
    if (PyErr_Occurred() || first < 0 || first > stop || stop > marks.len) goto end_marks;
    int begun = change_run(self, marks.buf, first, stop, WRITTEN, CHECKING, NULL, NULL);
    if (begun == 1) {
        Py_BEGIN_ALLOW_THREADS
        summed = sum_units(descriptor, (Crc32)(uintptr_t)address, offset, size, count, sums, &buffer);
        Py_END_ALLOW_THREADS
        int ended = summed == count ? change_run(self, marks.buf, first, stop, CHECKING, mark, &table, sums) : 0;
        if (ended == 1)
            result = Py_NewRef(Py_True);
        else if (ended == 0)
            result = PyBytes_FromStringAndSize((char *)sums, 4 * summed);
    } else if (begun == 0) {
        result = Py_NewRef(Py_False);
    }
end_marks:
    PyMem_RawFree(sums);
    PyBuffer_Release(&marks);
end:
    PyBuffer_Release(&table);
    PyBuffer_Release(&buffer);
    if (result == NULL && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no such run, or marks that are written");
    return result;
}

/* -- the type -------------------------------------------------------------------------------------------------- */

#define OBJECT(name, field) {name, T_OBJECT_EX, offsetof(State, field), 0, NULL}
#define SIZE(name, field) {name, T_PYSSIZET, offsetof(State, field), 0, NULL}
static PyMemberDef members[] = {
    OBJECT("file", file), OBJECT("marks", marks), OBJECT("open_form", open_form), OBJECT("in_flight", in_flight),
    OBJECT("fresh", fresh), OBJECT("_lock", lock), OBJECT("changed", changed),
    SIZE("array_offset", array_offset), SIZE("frame_bytes", frame_bytes), SIZE("frames", frames),
    SIZE("frames_written", frames_written), SIZE("fresh_bytes", fresh_bytes), SIZE("tell_at", tell_at),
    SIZE("_waiting", waiting), {NULL},
};

#define EACH_OBJECT(apply) \
    apply(self->file); apply(self->marks); apply(self->open_form); apply(self->in_flight); apply(self->fresh); \
    apply(self->lock); apply(self->changed); apply(self->form); apply(self->dtype)

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
    {"put_one", (PyCFunction)(void (*)(void))put_one, METH_FASTCALL, "put_one(index, frame) -> 0, 1, 2: as in hotpath.py"},
    {"put_only", (PyCFunction)put_only, METH_O, "put_only({index: frame}) -> 0, 1, 2: as in hotpath.py"},
    {"check_run", (PyCFunction)check_run, METH_VARARGS, "As in hotpath.py."},
    {NULL},
};

static PyTypeObject state_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "lys_storage.store._hotpath.State",
    .tp_basicsize = sizeof(State),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "What _state.State is.",
    .tp_new = PyType_GenericNew,
    .tp_dealloc = (destructor)dealloc,
    .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear,
    .tp_members = members,
    .tp_methods = methods,
};

static PyMethodDef functions[] = {
    {"checksums", checksums, METH_VARARGS,
     "checksums(crc32's address, fd, offset, size, sums, buffer) -> how many: the CRC-32 of units of `size` bytes from\n"
     "`offset` on, into the uint32 of `sums`, read by way of `buffer`, without the interpreter's lock. Ends where a read fails."},
    {NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "lys_storage.store._hotpath", "See _hotpath.c.", -1, functions,
};

PyMODINIT_FUNC PyInit__hotpath(void) {
    struct { PyObject **name; const char *text; } names[] = {
        {&name_dtype, "dtype"}, {&name_fd, "fd"}, {&name_os, "os"}, {&name_pwrite, "pwrite"}, {&name_acquire, "acquire"},
        {&name_release, "release"}, {&name_locked, "locked"}, {&name_notify_all, "notify_all"}, {&name_flight_failed, "_flight_failed"},
    };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if ((*names[k].name = PyUnicode_InternFromString(names[k].text)) == NULL) return NULL;
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL || (array_type = PyObject_GetAttrString(numpy, "ndarray")) == NULL) return NULL;
    Py_DECREF(numpy);
    if ((fs_module = PyImport_ImportModule("lys_storage.disk.file")) == NULL) return NULL;
    PyObject *os = PyImport_ImportModule("os");
    if (os == NULL) return NULL;
    plain_pwrite = PyObject_GetAttr(os, name_pwrite);
    Py_DECREF(os);
    if (plain_pwrite == NULL) PyErr_Clear();
    if (PyType_Ready(&state_type)) return NULL;
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL || PyModule_AddObjectRef(module, "State", (PyObject *)&state_type)) return NULL;
    return module;
}
