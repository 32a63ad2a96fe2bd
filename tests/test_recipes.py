"""The recipes of CONTRIBUTING, tried: a copy of the package, changed in the files that the recipe names and no others.

The recipe for a structure has a test of its own (``tests/synthesis/test_new_structure.py``).
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import vastus

ROOT = Path(__file__).parents[1]
PACKAGE = Path(vastus.__file__).parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Recipe:
    """A recipe carried out.

    Attributes:
        heading: of its section.
        new: path below ``src/vastus`` -> text of a new file.
        changes: path below ``src/vastus`` -> what is replaced, and by what.
        check: Python that ends in an error where the new thing can't be used.
    """

    heading: str
    new: dict[str, str]
    changes: dict[str, tuple[tuple[str, str], ...]]
    check: str


FORMAT = Recipe(
    "Add a format of results",
    {
        "formats/voxel_counts.py": '''"""The number of voxels of each label value."""
import json
import numpy as np
from vastus.io.atomic import write_text


def write_voxel_counts(path, labels):
    """Write them as JSON."""
    values, counts = np.unique(labels.array, return_counts=True)
    write_text(path, json.dumps({int(v): int(n) for v, n in zip(values, counts)}))
'''
    },
    {
        "io/tables.py": (
            (
                'WORKBOOK_FILE: Final = "results.xlsx"',
                'WORKBOOK_FILE: Final = "results.xlsx"\nCOUNTS_FILE: Final = "counts.json"',
            ),
        ),
        "formats/table.py": (
            ("import SEGMENTS_FILE, WORKBOOK_FILE", "import COUNTS_FILE, SEGMENTS_FILE, WORKBOOK_FILE"),
            (
                "PLAIN_FORMATS: Final = (\n",
                "def _write_counts(done):\n"
                "    from vastus.formats.voxel_counts import write_voxel_counts\n\n"
                "    write_voxel_counts(done.folder / COUNTS_FILE, done.segmentation.labels)\n\n\n"
                "PLAIN_FORMATS: Final = (\n"
                '    OutputFormat("counts", "voxels of each label value", (COUNTS_FILE,), _write_counts),\n',
            ),
        ),
    },
    """
import json, pathlib, types, typing
import numpy as np
from vastus.cli.segment import segment
from vastus.formats.table import OUTPUT_FORMATS, write_formats
from vastus.volume import Volume

assert "counts" in str(typing.get_type_hints(segment, include_extras=True)["formats"].__metadata__[0].help)
(chosen,) = [entry for entry in OUTPUT_FORMATS if entry.name == "counts"]
labels = Volume(np.array([[[0, 101, 101]]], np.uint8), np.eye(4))
done = types.SimpleNamespace(folder=pathlib.Path("."), segmentation=types.SimpleNamespace(labels=labels))
(written,) = write_formats(done, (chosen,))
assert json.loads(written.read_text()) == {"0": 1, "101": 2}
""",
)
NETWORK = Recipe(
    "Add a network",
    {
        "training/one_layer.py": '''"""One convolution."""
from torch import nn


def one_layer(class_count, window, arguments):
    """Build it."""
    return nn.Sequential(nn.Conv3d(1, class_count, arguments["kernel"], padding="same"))
'''
    },
    {
        "training/networks.py": (
            (
                "_ENTRIES = (\n",
                "def _one_layer(class_count, window, arguments):\n"
                "    from vastus.training.one_layer import one_layer\n\n"
                "    return one_layer(class_count, window, arguments)\n\n\n"
                "_ENTRIES = (\n"
                '    NetworkEntry("one_layer", "one convolution", _one_layer, PAPER_SETTINGS, class_parameters=("0.",),'
                ' divisor=lambda _: (1, 1, 1), arguments={"kernel": 3}),\n',
            ),
        )
    },
    """
import torch
from vastus.training.config import TrainConfig
from vastus.training.networks import build_network

network = build_network("one_layer", class_count=3, window_size=(8, 8, 8), arguments={})
assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
assert TrainConfig(network="one_layer", steps=1).network == "one_layer"
""",
)
CRITERION = Recipe(
    "Add a diagnostic criterion",
    {
        "sarcopenia/criteria/thigh_first.toml": """
key = "thigh_first"
name = "Thigh first"
source = "An invented example"

[[cutoffs]]
domain = "strength"
measure = "grip_kg"
low_if = "<"
men = 30.0
women = 20.0

[[stages]]
stage = "possible"
label = "weakness"
all_of = ["strength"]
"""
    },
    {},
    """
from vastus.sarcopenia.criteria import criteria_names, load_criteria

assert "thigh_first" in criteria_names()
assert load_criteria("thigh_first").name == "Thigh first"
""",
)
MEASURE = Recipe(
    "Add a measure",
    {
        "morphometry/roundness.py": '''"""How round the largest section is."""


def volume_per_length_mm2(volume_mm3, length_mm):
    """Mean cross-section in mm2."""
    return None if volume_mm3 is None or not length_mm else volume_mm3 / length_mm
'''
    },
    {
        "morphometry/rows.py": (
            (
                '    yield of.row("max_area", ',
                "    from vastus.morphometry.roundness import volume_per_length_mm2\n\n"
                '    mean_area = volume_per_length_mm2(measured.volume_mm3, _field(extent, "length_mm"))\n'
                '    yield of.row("mean_area", mean_area, "mm2")\n'
                '    yield of.row("max_area", ',
            ),
        )
    },
    """
from vastus.morphometry import measure_scan
from vastus.morphometry.rows import measure_rows
from vastus.synthesis.phantom import make_phantom

phantom = make_phantom((6.0, 6.0, 8.0))
rows = measure_rows(measure_scan(phantom.ct, phantom.labels, "one"))
of = {(r.structure, r.side, r.measure): r.value for r in rows}
found = of["rectus_femoris", "right", "mean_area"]
assert abs(found - of["rectus_femoris", "right", "volume"] / of["rectus_femoris", "right", "length"]) < 1e-6
""",
)
READER = Recipe(
    "Add a reader for a file format",
    {
        "io/numpy_images.py": '''"""A volume in a NumPy archive: ``hu`` and ``affine``."""
import numpy as np
from vastus.errors import UnreadableScanError
from vastus.io.scan_types import ReadImage
from vastus.volume import Volume

NUMPY_SUFFIXES = (".npz",)


def read_numpy_image(path):
    """Read one."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return ReadImage(Volume(data["hu"], data["affine"]))
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableScanError("This is no volume in a NumPy archive.", path=path) from error
'''
    },
    {
        "io/scan_types.py": (('    DICOM = "DICOM"\n', '    DICOM = "DICOM"\n    NUMPY = "NumPy"\n'),),
        "io/scans.py": (
            ("    ScanFormat.DICOM: (", "    ScanFormat.NUMPY: NUMPY_SUFFIXES,\n    ScanFormat.DICOM: ("),
            (
                "from vastus.io.scan_types import",
                "from vastus.io.numpy_images import NUMPY_SUFFIXES, read_numpy_image\nfrom vastus.io.scan_types import",
            ),
            (
                "image = read_nifti_image(path) if kind is ScanFormat.NIFTI else read_itk_image(path)",
                "readers = {ScanFormat.NIFTI: read_nifti_image, ScanFormat.NUMPY: read_numpy_image}\n"
                "        image = readers.get(kind, read_itk_image)(path)",
            ),
        ),
    },
    """
import numpy as np
from vastus.io.scans import read_scan

hu = np.full((20, 20, 20), -1000, np.int16)
hu[4:16, 4:16] = 50
np.savez("scan.npz", hu=hu, affine=np.diag([2.0, 2, 3, 1]))
scan = read_scan("scan.npz")
assert np.array_equal(scan.volume.array, hu)
""",
)
RECIPES = (FORMAT, NETWORK, CRITERION, MEASURE, READER)


def section(heading: str) -> str:
    """The text of a recipe."""
    return TEXT.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.heading)
def test_a_recipe_names_the_files_that_it_takes_and_no_more(recipe: Recipe) -> None:
    named = set(re.findall(r"`src/vastus/([^`]+)`", section(recipe.heading)))
    files = {path for path in named if not path.endswith("/") and "<" not in path}
    folders = tuple(path for path in named if path.endswith("/")) + tuple(
        path.split("<")[0] for path in named if "<" in path
    )
    assert all((PACKAGE / path).is_file() for path in files)
    assert set(recipe.changes) <= files
    assert all(path.startswith(folders) for path in recipe.new)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.heading)
def test_a_recipe_carried_out_works(recipe: Recipe, tmp_path: Path) -> None:
    if recipe is NETWORK:
        pytest.importorskip("torch")
    copy = tmp_path / "src" / "vastus"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "models", "viewer"))
    for path, text in recipe.new.items():
        (copy / path).write_text(text, encoding="utf-8")
    for path, replaced in recipe.changes.items():
        text = (copy / path).read_text(encoding="utf-8")
        for old, new in replaced:
            assert text.count(old) == 1, (path, old)
            text = text.replace(old, new)
        (copy / path).write_text(text, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    done = subprocess.run(
        [sys.executable, "-c", recipe.check],
        check=False,
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
