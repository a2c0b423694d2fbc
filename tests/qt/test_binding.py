"""Which Qt binding a process uses, and what lys needs under Qt 6. Import orders are tried in child processes."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import pytest

from lys_storage import LysStorageError
from lys_storage.qt import binding, prepare_lys
from lys_storage.qt.binding import SYSTEM_PACKAGES, candidates

needs_pyqt5 = pytest.mark.skipif(importlib.util.find_spec("PyQt5") is None, reason="PyQt5 is not installed")
needs_lys = pytest.mark.skipif(importlib.util.find_spec("lys") is None, reason="lys is not installed (numpy < 2)")

TELL = """
import json, os, sys
from lys_storage.qt import binding
import qtpy
loaded = [name for name in ("PyQt5", "PyQt6") if name + ".QtCore" in sys.modules]
print(json.dumps({"binding": binding.API_NAME, "qtpy": qtpy.API_NAME, "loaded": loaded,
                  "module": binding.QtCore.QObject.__module__, "env": os.environ.get("QT_API")}))
"""

FAIL = """
try:
    from lys_storage.qt import binding
except ImportError as error:
    print(type(error).__name__, error)
else:
    print("loaded", binding.API_NAME)
"""


def told(child: Any) -> dict[str, Any]:
    assert child.code == 0, child.err
    return json.loads(child.out.splitlines()[-1])


def on(binding: str, env: str | None = None) -> dict[str, Any]:
    """The output of TELL if everything is on one binding."""
    return {"binding": binding, "qtpy": binding, "loaded": [binding], "module": f"{binding}.QtCore", "env": env}


# -- the choice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loaded", "requested", "expected"),
    [
        pytest.param([], None, ("PyQt6", "PyQt5"), id="nothing is said: PyQt6, or PyQt5 where it is missing"),
        pytest.param([], "", ("PyQt6", "PyQt5"), id="an empty QT_API says nothing"),
        pytest.param([], "pyqt5", ("PyQt5",), id="QT_API"),
        pytest.param([], "PyQt6", ("PyQt6",), id="QT_API in any case"),
        pytest.param(["PyQt5"], None, ("PyQt5",), id="what is loaded"),
        pytest.param(["PyQt5"], "pyqt6", ("PyQt5",), id="what is loaded counts more than QT_API"),
        pytest.param(["PyQt5"], "pyside6", ("PyQt5",), id="even than a QT_API that is of no use"),
    ],
)
def test_the_binding_that_is_loaded_comes_first_then_QT_API_then_PyQt6(
    loaded: list[str], requested: str | None, expected: tuple[str, ...]
) -> None:
    """The order is that of the docstring of `binding`."""
    assert candidates(loaded, requested) == expected


@pytest.mark.parametrize(
    ("loaded", "requested", "words"),
    [
        pytest.param(["PyQt6", "PyQt5"], None, ["PyQt6 and PyQt5", "QT_API"], id="two are loaded"),
        pytest.param(["PyQt5", "PySide6"], "pyqt5", ["PyQt5 and PySide6"], id="two are loaded, whatever QT_API says"),
        pytest.param(["PySide6"], None, ["PySide6", "PyQt6 or PyQt5", "create()"], id="PySide is loaded"),
        pytest.param([], "pyside6", ["QT_API=pyside6", "pyqt6 or pyqt5"], id="QT_API names PySide"),
        pytest.param([], "qt", ["QT_API=qt", "pyqt6 or pyqt5"], id="QT_API names nothing"),
    ],
)
def test_where_no_choice_is_right_the_error_says_why(
    loaded: list[str], requested: str | None, words: list[str]
) -> None:
    """A BindingError, also an ImportError, names what was found and what to do."""
    with pytest.raises(binding.BindingError) as caught:
        candidates(loaded, requested)
    assert [word for word in words if word not in str(caught.value)] == []
    assert isinstance(caught.value, LysStorageError)
    assert isinstance(caught.value, ImportError)


def test_PyQt6_is_the_default(run_child: Any) -> None:
    """Nothing is loaded or chosen. The environment is unchanged, for child processes."""
    assert told(run_child(TELL, binding=None)) == on("PyQt6")


@needs_pyqt5
@pytest.mark.parametrize(
    "before",
    [
        pytest.param("import PyQt5.QtCore", id="PyQt5"),
        pytest.param("import qtpy", id="qtpy, which takes PyQt5"),
        pytest.param("import PyQt6, PyQt5.QtWidgets", id="PyQt5 and the bare package PyQt6"),
    ],
)
def test_a_process_on_PyQt5_gets_everything_on_PyQt5(run_child: Any, before: str) -> None:
    """A running lys has imported PyQt5 through qtpy."""
    assert {**told(run_child(before + TELL, binding=None)), "env": None} == on("PyQt5")


@needs_pyqt5
def test_QT_API_chooses_where_nothing_is_loaded(run_child: Any) -> None:
    """QT_API=pyqt5 selects PyQt5, and is not changed."""
    assert told(run_child(TELL, binding=None, env={"QT_API": "pyqt5"})) == on("PyQt5", "pyqt5")


@needs_pyqt5
def test_a_loaded_binding_counts_more_than_QT_API(run_child: Any) -> None:
    """Two bindings do not mix, so the loaded one is used, without a warning."""
    child = run_child("import PyQt5.QtCore" + TELL, binding=None, env={"QT_API": "pyqt6"})
    assert told(child) == on("PyQt5", "pyqt6")
    assert child.err == ""


def test_a_bare_package_decides_nothing(run_child: Any) -> None:
    """qtpy alone would use PyQt5 once `PyQt5` is in sys.modules, and mix two bindings."""
    before = "import sys, types; sys.modules['PyQt5'] = types.ModuleType('PyQt5'); import PyQt6.QtCore"
    assert told(run_child(before + TELL, binding=None)) == on("PyQt6")


@needs_pyqt5
def test_two_loaded_bindings_are_refused_in_clear_words(run_child: Any) -> None:
    """The process has PyQt5 and PyQt6."""
    child = run_child("import PyQt6.QtCore, PyQt5.QtCore" + FAIL, binding=None)
    assert child.out.startswith("BindingError PyQt6 and PyQt5 are both loaded in this process")


def test_a_qtpy_that_has_settled_on_another_binding_is_refused(run_child: Any) -> None:
    """qtpy chooses once in a process."""
    before = """
import sys, types
sys.modules["qtpy"] = qtpy = types.ModuleType("qtpy")
qtpy.API_NAME = "PySide6"
"""
    child = run_child(before + FAIL, binding=None)
    assert child.out.startswith("BindingError qtpy has settled on PySide6, but PyQt6 is loaded in this process")


@pytest.mark.parametrize(
    ("missing", "env", "expected"),
    [
        pytest.param(["PyQt5"], "pyqt5", "BindingError QT_API=pyqt5, but PyQt5 cannot be found", id="named by QT_API"),
        pytest.param(["PyQt6", "PyQt5"], None, "BindingError PyQt6 and PyQt5 cannot be found", id="none is installed"),
        pytest.param(["PyQt6"], None, "loaded PyQt5", marks=needs_pyqt5, id="PyQt5 where PyQt6 is missing"),
    ],
)
def test_a_binding_that_is_not_installed_is_told_with_the_pip_command(
    run_child: Any, missing: list[str], env: str | None, expected: str
) -> None:
    """The error says what is missing, and how to install it."""
    hide = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in missing)
    child = run_child(hide + FAIL, binding=None, env={"QT_API": env})
    assert child.out.startswith(expected)
    command = "pip install PyQt5 qtpy" if env else 'pip install "lys_storage[qt]"'
    assert ("BindingError" in expected) == (command in child.out), child.out


def test_a_missing_qtpy_is_told_with_the_pip_command(run_child: Any) -> None:
    """It is missing if PyQt6 was installed by hand. A broken qtpy is another error."""
    hide = "import sys; sys.modules['qtpy'] = None\n"
    child = run_child(hide + FAIL, binding=None)
    expected = (
        'BindingError PyQt6 is installed, but qtpy cannot be found in this Python: pip install "lys_storage[qt]"\n'
    )
    assert child.out == expected, child.err


WITHOUT_LIBRARY = """
import importlib.abc, sys
class Loader(importlib.abc.Loader):
    def create_module(self, spec):
        raise ImportError(f"{LIBRARY}: cannot open shared object file: No such file or directory", name=spec.name)
    def exec_module(self, module): ...
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in BROKEN:
            return importlib.util.spec_from_loader(name, Loader())
import importlib.util
sys.meta_path.insert(0, Finder())
"""


def test_a_missing_system_library_is_named_with_the_packages_to_install(run_child: Any) -> None:
    """This is so on a bare Debian."""
    before = "LIBRARY, BROKEN = 'libglib-2.0.so.0', {'PyQt6.QtCore'}" + WITHOUT_LIBRARY
    child = run_child(before + FAIL, binding=None)
    assert child.out.startswith("BindingError PyQt6 is installed but cannot be loaded: libglib-2.0.so.0: cannot open")
    assert "the system library libglib-2.0.so.0 is missing or cannot be used" in child.out
    assert f"apt-get install {SYSTEM_PACKAGES}" in child.out
    assert SYSTEM_PACKAGES == "libglib2.0-0 libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1"


def test_without_the_libraries_of_widgets_a_storage_works_and_lys_is_told_about(run_child: Any) -> None:
    """QtCore is enough for the storage. Everything else names the missing library."""
    before = "LIBRARY, BROKEN = 'libEGL.so.1', {'PyQt6.QtGui', 'PyQt6.QtWidgets'}" + WITHOUT_LIBRARY
    child = run_child(
        before
        + """
from lys_storage.qt import binding, prepare_lys
print(binding.QtCore.QObject().objectName() == "")
for ask in (prepare_lys, lambda: binding.QtWidgets, lambda: binding.QtGui):
    try:
        ask()
    except binding.BindingError as error:
        print("libEGL.so.1 is missing" in str(error) and "apt-get install" in str(error))
""",
        binding=None,
    )
    assert child.out.split() == ["True"] * 4


def test_no_display_is_needed_and_no_application_is_made(run_child: Any) -> None:
    """Importing it does not load lys, makes no QApplication, and works without a display."""
    child = run_child(
        """
import sys
from lys_storage.qt import binding
print(binding.QtCore.QCoreApplication.instance(), "lys" in sys.modules, bool(binding.QtWidgets))
""",
        env={"QT_QPA_PLATFORM": None, "DISPLAY": None, "WAYLAND_DISPLAY": None},
    )
    assert (child.code, child.out.split()) == (0, ["None", "False", "True"]), child.err


def test_what_the_module_does_not_have_is_an_attribute_error() -> None:
    """The lazy modules do not import for every name."""
    with pytest.raises(AttributeError, match="QtNothing"):
        _ = binding.QtNothing  # type: ignore[attr-defined]


# -- lys under either binding ------------------------------------------------------------------------------------------

LYS = """
import json, os, sys
import numpy as np
os.makedirs(".lys/workspace", exist_ok=True)
import lys
from lys import glb
from lys.Qt import QtWidgets
import qtpy

wave = lys.Wave(np.arange(6.0).reshape(2, 3), [1, 2], [3, 4, 5], key="item")
wave.export("wave.npz")
loaded = lys.load("wave.npz")
dask = lys.DaskWave(wave).compute()
glb.createMainWindow(selfClose=True)
window = glb.mainWindow()
right = window.tabWidget("right")
for make in (lambda: lys.display(wave), lambda: lys.display(lys.Wave([1, 2, 3])), lambda: lys.edit(wave),
             lambda: lys.multicut(lys.Wave(np.ones((3, 3, 3, 3))))):
    make()
    for index in range(right.count()):
        right.setCurrentIndex(index)
        lys.Qt.processEvents()
import lys.localPlugins
with open("script.py", "w") as file:
    file.write("# a comment\\nclass A:\\n    x = '''text'''\\n")
editor = lys.load("script.py")
lys.Qt.processEvents()
sys.stdout = sys.__stdout__
print(json.dumps({"binding": qtpy.API_NAME, "loaded": loaded.data.tolist(), "axes": [a.tolist() for a in loaded.axes],
                  "note": loaded.note, "dask": dask.data.tolist(), "window": window.isVisible(),
                  "application": type(QtWidgets.QApplication.instance()).__name__}), flush=True)
window.close()
os._exit(0)  # lys leaves threads and workers of dask to the end of the process
"""

LYS_WORKS = {
    "loaded": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
    "axes": [[1, 2], [3, 4, 5]],
    "note": {"key": "item"},
    "dask": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
    "window": True,
    "application": "QApplication",
}


@needs_lys
def test_after_the_qt_part_lys_and_its_main_window_work_on_PyQt6(run_child: Any) -> None:
    """This includes Wave, DaskWave, lys.load, and the main window with graphs, tables, multi cut and Python editor."""
    child = run_child("import lys_storage.qt\n" + LYS, binding=None)
    assert told(child) == {"binding": "PyQt6", **LYS_WORKS}
    assert "Traceback" not in child.err


@needs_lys
def test_the_public_name_alone_prepares_lys(run_child: Any) -> None:
    """`lys_storage.DataStorage` is imported first, then lys, and a Wave of both is read."""
    child = run_child(
        "import lys_storage; lys_storage.DataStorage; import lys, qtpy; print(qtpy.API_NAME, lys.Wave([1, 2]).data.sum())",
        binding=None,
    )
    assert (child.code, child.out.split()) == (0, ["PyQt6", "3"]), child.err


@needs_lys
@needs_pyqt5
def test_lys_and_its_main_window_work_on_PyQt5_as_without_us(run_child: Any) -> None:
    """QT_API is pyqt5, and the Qt part is imported first."""
    child = run_child("import lys_storage.qt\n" + LYS, binding="PyQt5")
    assert told(child) == {"binding": "PyQt5", **LYS_WORKS}
    assert "Traceback" not in child.err


@needs_lys
@needs_pyqt5
def test_with_lys_first_everything_is_on_PyQt5(run_child: Any) -> None:
    """A running lys uses PyQt5. Its modules are not changed."""
    child = run_child(
        """
import lys
from qtpy import QtCore, QtGui, QtWidgets
before = {name: set(vars(module)) for name, module in (("c", QtCore), ("g", QtGui), ("w", QtWidgets))}
"""
        + TELL
        + """
after = {name: set(vars(module)) for name, module in (("c", QtCore), ("g", QtGui), ("w", QtWidgets))}
assert before == after
""",
        binding=None,
    )
    assert child.code == 0, child.err
    assert json.loads(child.out) == on("PyQt5", "pyqt5"), "qtpy itself sets QT_API when lys imports it"


STAND_INS = pytest.mark.skipif(binding.API_NAME == "PyQt5", reason="Qt 5 has its own")


@STAND_INS
def test_the_desktop_stand_in_tells_the_dots_per_inch_of_the_main_screen(qapp: Any) -> None:
    """It is a positive integer, because lys divides by it."""
    screen = qapp.primaryScreen()
    desktop = binding.QtWidgets.QDesktopWidget()
    assert (desktop.physicalDpiX(), desktop.physicalDpiY()) == (
        round(screen.physicalDotsPerInchX()),
        round(screen.physicalDotsPerInchY()),
    )


@STAND_INS
@pytest.mark.parametrize("dpi", [0.0, float("inf"), float("nan"), None], ids=str)
def test_a_screen_that_tells_nonsense_counts_as_96_dots_per_inch(dpi: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remote screen can have no size, and there can be no screen (None)."""

    class Screen:
        def physicalDotsPerInchX(self) -> float:
            return dpi

    class Application:
        @staticmethod
        def primaryScreen() -> Screen | None:
            return None if dpi is None else Screen()

    monkeypatch.setattr(binding.QtGui, "QGuiApplication", Application)
    assert binding.QtWidgets.QDesktopWidget().physicalDpiX() == 96


@STAND_INS
def test_the_regular_expression_stand_in_does_what_the_editor_of_lys_asks() -> None:
    """indexIn, pos, cap and matchedLength behave as in QRegExp."""
    expression = binding.QtCore.QRegExp(r"\bdef\b\s*(\w+)")
    assert (expression.indexIn("x def name: def other", 0), expression.pos(0), expression.pos(1)) == (2, 2, 6)
    assert (expression.cap(0), expression.cap(1), expression.matchedLength()) == ("def name", "name", 8)
    assert (expression.indexIn("x def name: def other", 10), expression.cap(1)) == (12, "other")
    assert (expression.indexIn("nothing"), expression.pos(1), expression.cap(1), expression.matchedLength()) == (
        -1,
        -1,
        "",
        -1,
    )


@STAND_INS
def test_qApp_is_the_application_there_is(run_child: Any) -> None:
    """It is False if there is none. lys checks it, and quits through it on Ctrl+C."""
    child = run_child(
        """
from lys_storage.qt import binding
qapp = binding.QtGui.qApp
print(bool(qapp))
app = binding.QtCore.QCoreApplication([])
print(bool(qapp), qapp.applicationName() == app.applicationName())
""",
        binding="PyQt6",
    )
    assert child.out.split() == ["False", "True", "True"], child.err


@STAND_INS
def test_what_qtpy_has_itself_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later qtpy may have its own."""
    mine = object()
    monkeypatch.setattr(binding.QtWidgets, "QDesktopWidget", mine)
    prepare_lys()
    assert binding.QtWidgets.QDesktopWidget is mine


def test_the_package_itself_loads_neither_qt_nor_lys(run_child: Any) -> None:
    """Scripts import lys_storage, too."""
    child = run_child(
        "import sys, lys_storage; print([name for name in ('PyQt6', 'PyQt5', 'qtpy', 'lys', 'dask') if name in sys.modules])"
    )
    assert child.out.strip() == "[]", child.err


def test_this_run_is_on_the_binding_that_it_says() -> None:
    """No other binding is loaded in the process."""
    assert [name for name in ("PyQt6", "PyQt5") if f"{name}.QtCore" in sys.modules] == [binding.API_NAME]
