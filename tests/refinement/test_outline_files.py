import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.anatomy import STRUCTURES, UNLABELLED
from vastus.errors import MissingInputError, SettingsError
from vastus.refinement.outline import Outline, OutlineSettings, Polygon, Strokes
from vastus.refinement.outline_files import FORMAT, outline_text, parse_outline, read_outline, write_outline

KEYS = [s.key for s in STRUCTURES]
numbers = st.one_of(st.integers(-20, 600), st.floats(-20, 600)).map(float)
points = st.tuples(numbers, numbers)
lines = st.lists(st.lists(points, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3).map(tuple)
keys = st.sampled_from(KEYS)
strokes = st.builds(Strokes, keys, lines, st.integers(1, 3), st.none() | st.integers(0, 3))
outlines = st.builds(
    Outline,
    st.lists(strokes, max_size=4, unique_by=lambda s: s.key).map(tuple),
    lines | st.just(()),
    lines | st.just(()),
    st.lists(st.tuples(keys, keys), max_size=2).map(tuple),
    st.lists(
        st.builds(
            Polygon, st.sampled_from([0, 1, 29, UNLABELLED]), st.lists(points, min_size=3, max_size=5).map(tuple)
        ),
        max_size=2,
    ).map(tuple),
    st.lists(keys, max_size=2).map(tuple),
    st.none() | st.just((2, 90, 0, 77)),
    st.builds(
        OutlineSettings, mask_hu=st.floats(-60, 20), fill_bones=st.booleans(), grid_factor=st.sampled_from([1, 2])
    ),
    st.sampled_from(["", "network"]),
)


@given(spec=outlines)
def test_what_is_written_is_read_again(spec: Outline) -> None:
    text = outline_text(spec)
    assert parse_outline(text) == spec
    assert outline_text(parse_outline(text)) == text


def test_a_file_is_plain_to_read(tmp_path: Path) -> None:
    spec = Outline(
        (Strokes("sartorius", (((10, 12), (14.5, 20)),)), Strokes("vastus_intermedius", (((30, 30),),), 2)),
        undecided=(("vastus_intermedius", "vastus_lateralis"),),
        polygons=(Polygon(255, ((1, 1), (4, 1), (4, 4))),),
        settings=OutlineSettings(undecided_radius_voxels=2.0),
    )
    write_outline(spec, tmp_path / "k012.json")
    text = (tmp_path / "k012.json").read_text()
    assert '  "sartorius": [[[10,12],[14.5,20]]],\n' in text
    assert json.loads(text)["settings"] == {"undecided_radius_voxels": 2.0}
    assert json.loads(text)["confidence"] == {"vastus_intermedius": 2}
    assert json.loads(text)["polygons"][0]["as"] == "unlabelled"
    assert read_outline(tmp_path / "k012.json") == spec


@pytest.mark.parametrize(
    "parts",
    [
        {"format": "other"},
        {"strokes": {"soleus": [[[1, 1]]]}},
        {"strokes": {"sartorius": []}},
        {"strokes": {"sartorius": [[[1]]]}},
        {"strokes": {"sartorius": [[[1, "2"]]]}},
        {"strokes": []},
        {"strokes": {"sartorius": [[[1, True]]]}},
        {"strokes": {"sartorius": [[[1, 1e9]]]}},
        {"confidence": {"sartorius": 2}},
        {"confidence": {"sartorius": 2.5}, "strokes": {"sartorius": [[[1, 1]]]}},
        {"window": [0, 5, 3]},
        {"window": [0, 5, 3, 9.5]},
        {"colour": "red"},
        {"settings": {"mask_hu": "low"}},
        {"settings": {"mask": 3}},
        {"settings": {"fill_bones": 1}},
        {"settings": {"skin_voxels": 1.5}},
        {"polygons": [{"as": "fat", "points": [[0, 0], [1, 0], [1, 1]]}]},
        {"polygons": [{"as": "none"}]},
        {"undecided": [["sartorius"]]},
        {"dropped": "sartorius"},
        {"start": 3},
    ],
)
def test_what_is_no_outline_is_refused_with_its_file(parts: dict, tmp_path: Path) -> None:
    path = tmp_path / "k001.json"
    path.write_text(json.dumps({"format": FORMAT} | parts))
    with pytest.raises(SettingsError) as refused:
        read_outline(path)
    assert refused.value.path == path


def test_no_file_and_no_json_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_outline(tmp_path / "k001.json")
    (tmp_path / "k001.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(SettingsError):
        read_outline(tmp_path / "k001.json")
    with pytest.raises(SettingsError):
        parse_outline("{")
