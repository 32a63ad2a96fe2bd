import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastus.errors import SettingsError, TrainingError
from vastus.io.nnunet_layout import SPLITS_FILE
from vastus.training.folds import folds_of, make_folds


@given(st.integers(2, 40), st.integers(2, 8))
def test_every_case_is_held_out_once(cases: int, count: int) -> None:
    names = tuple(f"c{i}" for i in range(cases))
    folds = make_folds(names, count)
    held_out = [name for fold in folds for name in fold.validation]
    assert sorted(held_out) == sorted(names)
    for fold in folds:
        assert not set(fold.training) & set(fold.validation)
        assert set(fold.training) | set(fold.validation) == set(names)
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_the_papers_split_is_six_folds_of_sixty_and_twelve() -> None:
    folds = make_folds(tuple(f"c{i:02d}" for i in range(72)), 6)
    assert [(len(f.training), len(f.validation)) for f in folds] == [(60, 12)] * 6


def test_the_file_is_made_once_and_then_obeyed(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    made = folds_of(tmp_path, names, 2)
    assert folds_of(tmp_path, names) == made
    (tmp_path / SPLITS_FILE).write_text(json.dumps([{"train": ["a", "b", "c"], "val": ["d"]}]))
    assert folds_of(tmp_path, names)[0].validation == ("d",)
    with pytest.raises(SettingsError, match="1 folds, not 3"):
        folds_of(tmp_path, names, 3)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"train": ["a"], "val": ["z"]}], "not there: z"),
        ([{"train": ["a", "b"], "val": ["b"]}], "on both"),
        ([{"train": [], "val": ["b"]}], "empty"),
        ([{"train": ["a"]}], "malformed"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, rows: object, words: str) -> None:
    (tmp_path / SPLITS_FILE).write_text(json.dumps(rows))
    with pytest.raises(SettingsError, match=words):
        folds_of(tmp_path, ("a", "b"))


def test_one_case_can_not_be_split() -> None:
    with pytest.raises(TrainingError):
        make_folds(("a",))
