"""A small mesh pack of ellipsoids, laid out like the real one, and the atlas built from it."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from filelock import FileLock

from vastus.synthesis.atlas import Atlas, PersonName
from vastus.synthesis.atlas_building import build_atlas
from vastus.synthesis.correspondence import Correspondence, find_correspondence
from vastus.synthesis.phantom import _ELLIPSOIDS
from vastus.synthesis.store import fill_pool

SCALE = 0.5
HEAD_MM = (52.5, 2.5, 205.0)
CREST_MM = 272.0
# What the pack has under other names, and what carries no class. (x outwards, y, z, radii) in full-size mm.
_EXTRA = {
    "psoas_major": (48, 10, 500, 15, 15, 105),
    "iliacus": (88, 22, 470, 18, 12, 55),
    "biceps_femoris_long": (118, -52, 190, 12, 12, 120),
    "biceps_femoris_short": (108, -42, 120, 10, 10, 80),
    "patella": (105, 55, 25, 18, 9, 20),
    "tibia": (105, 5, -90, 16, 16, 80),
    "fibula": (132, -12, -90, 7, 7, 75),
    "soleus": (105, -38, -90, 22, 18, 70),
    "gemellus_superior": (80, -30, 395, 12, 5, 5),
}
_LEFT_OUT = ("psoas", "iliopsoas", "biceps_femoris", "abdominal_oblique", "rectus_abdominis", "multifidus")


def ellipsoids() -> dict[str, tuple[float, ...]]:
    """Every side structure of the pack: centre and radii in mm at the pack's size."""
    rows = {key: row for key, row in _ELLIPSOIDS.items() if key not in _LEFT_OUT} | _EXTRA
    return {key: tuple(SCALE * v for v in row) for key, row in rows.items()}


def _write(path: Path, centre: tuple[float, ...], radii: tuple[float, ...]) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    mesh.apply_scale(radii)
    mesh.apply_translation(centre)
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)


@pytest.fixture(scope="session")
def mesh_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    write_mesh_pack(folder)
    return folder


def write_mesh_pack(folder: Path) -> None:
    """Write the pack of ellipsoids; the benchmark does without the real one with it."""
    marks = {"vhf": write_person(folder, "vhf")}
    (folder / "manifest.json").write_text(json.dumps({"landmarks": marks}))


def write_person(folder: Path, person: str, thicker: float = 1.0) -> dict[str, dict[str, object]]:
    """The ellipsoids of one person, across the leg and the trunk thicker by a factor; returns the landmarks."""
    base = folder / "meshes" / person
    for side, sign in (("right", 1.0), ("left", -1.0)):
        for key, (x, y, z, rx, ry, rz) in ellipsoids().items():
            _write(base / side / f"{key}.ply", (sign * x, y, z), (rx * thicker, ry * thicker, rz))
    _write(base / "midline" / "sacrum.ply", (0, -22, 235), (22, 10, 30))
    skin = trimesh.creation.box(extents=(196, 140, 345))
    skin.apply_translation((0, 0, 142))
    skin.export(base / "midline" / "skin.ply")
    return {
        side: {
            "femoral_head_centre_mm": [sign * HEAD_MM[0], HEAD_MM[1], HEAD_MM[2]],
            "knee_joint_level_z_mm": 0.0,
            "iliac_crest_z_mm": CREST_MM,
        }
        for side, sign in (("right", 1.0), ("left", -1.0))
    }


THICKER = 1.4


@pytest.fixture(scope="session")
def pack_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people: the second has thicker structures at the same places."""
    folder = tmp_path_factory.mktemp("pack_of_two")
    marks = {"vhf": write_person(folder, "vhf"), "vhm": write_person(folder, "vhm", THICKER)}
    (folder / "manifest.json").write_text(json.dumps({"landmarks": marks}))
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What takes long is made by one of the processes that run the tests, and taken by the others.

    Args:
        factory: the fixture.
        name: of the file or folder.
        make: writes it at the path it is given.
    """
    own = factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            half = path.with_name(f"half-{name}")
            make(half)
            half.rename(path)
    return path


def _built(factory: pytest.TempPathFactory, pack: Path, person: PersonName) -> Atlas:
    def build(path: Path) -> None:
        path.write_bytes(pickle.dumps(build_atlas(pack, person)))

    built: Atlas = pickle.loads(made_once(factory, f"atlas_{person.value}", build).read_bytes())
    return built


@pytest.fixture(scope="session")
def atlas(mesh_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    return _built(tmp_path_factory, mesh_pack, PersonName.FEMALE)


@pytest.fixture(scope="session")
def two(atlas: Atlas, pack_of_two: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Atlas, Atlas]:
    return atlas, _built(tmp_path_factory, pack_of_two, PersonName.MALE)


POOL_SEED = 20


@pytest.fixture(scope="session")
def pool_folder(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of two bodies; tests leave it as it is."""
    return made_once(tmp_path_factory, "pool", lambda path: fill_pool(path, [atlas], 2, first_seed=POOL_SEED))


@pytest.fixture(scope="session")
def match(two: tuple[Atlas, Atlas]) -> Correspondence:
    return find_correspondence(*two)


def ellipsoid_volume(key: str) -> float:
    _, _, _, rx, ry, rz = ellipsoids()[key]
    return float(4 / 3 * np.pi * rx * ry * rz)
