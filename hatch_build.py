"""Step of the build (``pip install`` runs it): compile the loops ahead, so that the first scan need not wait for it.

Where that fails, Vastus is installed without them, and compiles each loop when it is first used.
``HATCH_BUILD_NO_HOOKS=true`` leaves the step out, for a wheel that serves all processors and Pythons.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileLoops(BuildHookInterface[Any]):
    """Put ``vastus/compiled_loops`` into the wheel, or beside the source of an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the loops before the wheel is packed."""
        sys.path.insert(0, str(Path(self.root) / "src"))
        try:
            from vastus.compile_ahead import compile_ahead

            folder = compile_ahead()
        except Exception as error:  # whatever it is, it must not keep anybody from installing
            said = str(getattr(error, "stderr", None) or repr(error)).strip().splitlines()
            self.app.display_warning(f"The loops are not compiled ahead: {said[-1]}")
            return
        build_data["artifacts"].append(f"/{folder.relative_to(self.root).as_posix()}/*.nbc")
        # The code is that of one processor and one Python.
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
