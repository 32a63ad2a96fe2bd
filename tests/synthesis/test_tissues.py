"""Tissues are numbered apart from classes, and files name them; older files hold numbers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vastus.anatomy import LARGEST_CLASS_ID, STRUCTURES
from vastus.errors import MissingInputError
from vastus.synthesis import kernels
from vastus.synthesis.atlas import Atlas, load_atlas, save_atlas
from vastus.synthesis.store import load_body
from vastus.synthesis.tissues import CLASS_OF_TISSUE, KIND_OF_TISSUE, Tissue, name_of, tissue_of, tissue_of_part

HERE = Path("body.json")
# As version 0.1 numbered them.
FIRST = {30: Tissue.FAT, 31: Tissue.SKIN, 32: Tissue.OTHER_MUSCLE, 33: Tissue.OTHER_BONE, 34: Tissue.VESSEL}
FIRST |= {35: Tissue.BOWEL, 36: Tissue.GAS, 37: Tissue.FLUID, 38: Tissue.ORGAN, 39: Tissue.TENDON}
FIRST |= {40: Tissue.CALF_MUSCLE, 41: Tissue.METAL, 42: Tissue.TABLE, 43: Tissue.CLOTH}


def test_no_class_id_is_ever_a_tissue() -> None:
    assert min(t for t in Tissue if t) > LARGEST_CLASS_ID >= len(STRUCTURES)
    assert [CLASS_OF_TISSUE[s.class_id] for s in STRUCTURES] == [s.class_id for s in STRUCTURES]
    assert not CLASS_OF_TISSUE[list(Tissue)].any()


def test_kinds_for_compiled_code() -> None:
    kinds = {s.key: KIND_OF_TISSUE[s.class_id] for s in STRUCTURES}
    assert kinds["femur"] == kernels.FEMUR and kinds["hip_bone"] == kernels.BONE
    assert {kinds[s.key] for s in STRUCTURES if s.is_muscle} == {kernels.OTHER}
    assert KIND_OF_TISSUE[[Tissue.AIR, Tissue.FAT, Tissue.SKIN]].max() == kernels.SKIN < kernels.OTHER


@pytest.mark.parametrize("tissue", [*Tissue, *(s.class_id for s in STRUCTURES)])
def test_names_lead_back(tissue: int) -> None:
    if tissue:
        assert tissue_of(name_of(tissue), HERE) == tissue


def test_numbers_of_the_first_files_keep_their_meaning() -> None:
    assert {number: tissue_of(number, HERE) for number in FIRST} == FIRST
    assert [tissue_of(number, HERE) for number in range(30)] == list(range(30))


@pytest.mark.parametrize("strange", [44, -1, 64, "tibialis_tertius", "tissue:jelly", "fat"])
def test_what_is_not_known_is_refused_with_the_file(strange: int | str) -> None:
    with pytest.raises(MissingInputError, match=re_escaped(strange)) as refused:
        tissue_of(strange, HERE)
    assert refused.value.path == HERE and "make it again" in refused.value.remedy


def re_escaped(value: int | str) -> str:
    return repr(value).replace(":", r"\:")


def test_a_muscle_that_became_a_structure_gets_its_class_and_other_parts_do_not() -> None:
    assert tissue_of_part("gracilis", "tissue:other_muscle", HERE) == 9
    assert tissue_of_part("soleus", "tissue:calf_muscle", HERE) == Tissue.CALF_MUSCLE
    assert tissue_of_part("femur", "tissue:metal", HERE) == Tissue.METAL


def test_a_pool_of_an_older_version_is_read_the_same(pool_folder: Path, tmp_path: Path) -> None:
    new = next(iter(sorted(pool_folder.glob("body_*"))))
    old = tmp_path / "body_000020"
    shutil.copytree(new, old)
    numbers = {int(tissue): number for number, tissue in FIRST.items()}
    head = json.loads((old / "body.json").read_text())
    stored = load_body(new)
    # Tissues of later versions never had a number.
    newer = {int(tissue): name_of(tissue) for tissue in (Tissue.SOFT, Tissue.CALCIUM)}
    head["parts"] = [[p.name, newer.get(p.tissue, numbers.get(p.tissue, p.tissue))] for p in stored.parts]
    assert any(isinstance(number, int) and number >= 30 for _, number in head["parts"])
    (old / "body.json").write_text(json.dumps(head))
    np.testing.assert_array_equal(load_body(old).tissues, stored.tissues)


def test_an_atlas_of_an_older_version_is_read_the_same(atlas: Atlas, tmp_path: Path) -> None:
    save_atlas(atlas, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as data:
        arrays = dict(data)
    head = json.loads(bytes(arrays["head"]))
    numbers = {int(tissue): number for number, tissue in FIRST.items()}
    head["format"] = 1
    for row, part in zip(head["parts"], atlas.parts, strict=True):
        assert isinstance(row["tissue"], str)
        row["tissue"] = numbers.get(part.tissue, part.tissue)
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(tmp_path / "old.npz", **arrays)
    tissues = [p.tissue for p in atlas.parts]
    assert [p.tissue for p in load_atlas(tmp_path / "old.npz").parts] == tissues
    assert [p.tissue for p in load_atlas(tmp_path / "new.npz").parts] == tissues
