"""PyQt aborts the process if an exception leaves a slot and sys.excepthook is not set: no slot of ours raises."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import lys_storage.qt
from tests.helpers import files

#: Slots that are not methods of a Qt object, and catch their own exceptions.
OTHERS = {"abandon", "end"}

MODULES = [
    importlib.import_module(f"lys_storage.qt.{module.name}") for module in pkgutil.iter_modules(lys_storage.qt.__path__)
]


def slots() -> set[str]:
    """The names of everything that is connected to a signal in the package."""
    found = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
                slot = node.args[0]
                slot = slot.body.func if isinstance(slot, ast.Lambda) and isinstance(slot.body, ast.Call) else slot
                assert isinstance(slot, ast.Attribute), ast.unparse(node)
                found.add(slot.attr)
    return found


def test_every_slot_is_guarded() -> None:
    """Every slot is wrapped by `guarded`. The test finds new slots."""
    methods = {
        name: method
        for module in MODULES
        for _, kind in inspect.getmembers(module, inspect.isclass)
        for name, method in vars(kind).items()
    }
    assert len(slots()) >= 10
    assert [name for name in sorted(slots() - OTHERS) if not hasattr(methods[name], "__wrapped__")] == []


BEGIN = """
import sys
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore, detector_link, saves, settings, storage as storage_module
from tests.qt.detector import BareDetector, in_another_thread, process_events
from tests.qt.helpers import wait_saved, wait_until

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("it has no text")

def fail(*args, **options):
    raise {kind}("on purpose")

app = QtCore.QCoreApplication([])
storage = DataStorage(base=sys.argv[1])
told = []
storage.failed.connect(lambda path, message: told.append(message))
detector = BareDetector()
storage.connect(detector)

def run(stop=False):
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({{(0,): np.ones(4)}})
    if stop:
        detector.stopped.emit()
    else:
        in_another_thread(detector.dataAcquired.emit, {{(1,): np.ones(4), (2,): np.ones(4)}})
        in_another_thread(detector.busyStateChanged.emit, False)
    storage._save_thread.wait_idle(20)
    process_events()

process_events()
"""

END = """
wait_until(lambda: told or {kind} is Unspeakable)
print("alive")
"""

#: What fails, and how Qt calls it.
FAILURES = {
    "the results cannot be taken": "storage._saves.take_results = fail; run()",
    "the state cannot be told": "type(storage._saves).active = property(fail); run()",
    "a search cannot begin": "storage._interrupted_search.search = fail; storage.folder = 'other'; process_events()",
    "a search cannot be scheduled": "storage._interrupted_search.schedule = fail; storage.folder = 'other'",
    "a search fails": """
import pathlib
from lys_storage.qt import interrupted_search
pathlib.Path(sys.argv[1], "there").mkdir()
interrupted_search.find_interrupted = fail
storage.folder = "there"
process_events()
storage.waitForSaved(20)
""",
    "the saves cannot be waited for": "storage.waitForSaved = fail; QtCore.QTimer.singleShot(0, app.quit); app.exec()",
    "a save raises what it should report": "saves.Acquisition.save = fail; run(); wait_saved(storage)",
    "an export raises what nobody expects": """
from lys_storage import Scan
Scan.close = Scan.suspend = fail
run()
wait_saved(storage)
""",
    "the path of the file cannot be told": "storage._folder_and_stem = fail; run(); told.append('by the log only')",
    "a reservation fails": "storage._begin = fail; run()",
    "frames cannot be stored": "saves.Acquisition.store = fail; run()",
    "the end cannot be begun": "storage._saves.finish = fail; run()",
    "the axes cannot be read": "detector_link.axes_at_end = fail; run(stop=True)",
    "the totals cannot be told": "detector_link.Acquisition = None; storage_module.Acquisition.faults = property(fail)\n"
    "detector.busyStateChanged.emit(True); detector.dataAcquired.emit({(9, 9): 1}); told.append('by the log only')",
    "a detector that does not tell whether it is busy": """
class Dumb(BareDetector):
    isBusy = property(fail)
detector = Dumb()
storage.connect(detector)
run()
wait_saved(storage)
told.append("it is no fault")
""",
}


@pytest.mark.parametrize("kind", ["RuntimeError", "Unspeakable"])
@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_in_a_slot_is_logged_and_signalled_and_ends_no_process(
    run_child: Any, tmp_path: Path, failure: str, kind: str
) -> None:
    """sys.excepthook is not set. The error itself can be one without a message."""
    source = BEGIN.format(kind=kind) + FAILURES[failure] + END.format(kind=kind)
    child = run_child(source, str(tmp_path))
    assert (child.code, child.out) == (0, "alive\n"), child.err


WRONG = [
    ("name", "42"),
    ("base", "None"),
    ("folder", "b'x'"),
    ("flushInterval", "'1s'"),
    ("incomplete", "1"),
    ("dtype", "42"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_where_it_is_set_and_the_next_run_is_stored(
    run_child: Any, tmp_path: Path, name: str, value: str
) -> None:
    """Otherwise it would reach a slot, and abort the process."""
    child = run_child(
        BEGIN.format(kind="RuntimeError")
        + f"""
try:
    storage.{name} = {value}
except (TypeError, ValueError) as error:
    print("refused")
run()
storage.close()
print(len(told))
""",
        str(tmp_path),
    )
    assert (child.code, child.out) == (0, "refused\n0\n"), child.err
    assert files(tmp_path) == {"folder/data_0.npz"}
