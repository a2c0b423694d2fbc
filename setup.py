"""The compiled part is optional: without a compiler, or with LYS_STORAGE_PURE=1, the wheel is pure (py3-none-any)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

WANTED = os.environ.get("LYS_STORAGE_PURE", "0") in ("", "0")


class Wheel(bdist_wheel):
    """A pure wheel if no extension was built."""

    def run(self) -> None:
        if WANTED:
            self.run_command("build_ext")
            built = [path for path in self.get_finalized_command("build_ext").get_outputs() if Path(path).exists()]
            if not built:
                why = "its build has failed; the reason is above, pip shows it with -v"
                print(
                    f"lys_storage: the compiled part was not built: {why}. Python code does the same.", file=sys.stderr
                )
                self.distribution.ext_modules = []
                self.root_is_pure = True
        super().run()


extension = Extension("lys_storage.store._hotpath", ["lys_storage/store/_hotpath.pyx"], optional=True)
setup(ext_modules=[extension] if WANTED else [], cmdclass={"bdist_wheel": Wheel})
