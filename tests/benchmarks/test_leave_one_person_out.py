"""Who may be in the pool when somebody is left out; and the whole way with the training played."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from programs import load_program
from vastus.errors import MissingInputError, OutputError, SettingsError
from vastus.synthesis.atlas import Atlas, Field, Landmarks, PersonName, save_atlas
from vastus.synthesis.dataset import write_image
from vastus.volume import Volume

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "leave_one_person_out.py"
NAMES = ("vhf", "vhm", "vhf_25", "pelvic004", "pelvic004_f", "mix_000", "mix_001")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_program(PROGRAM)


def _save(folder: Path, name: str, person: PersonName, made_from: tuple[str, ...]) -> None:
    field = Field(np.zeros((2, 2, 2), np.float32), np.zeros(3), 3.0)
    save_atlas(Atlas(person, (), Landmarks({}, {}, 0.0, 0.0), field, field, made_from), folder / f"atlas_{name}.npz")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two people, one between them, a patient completed by either, and two mixtures."""
    folder = tmp_path / "people"
    folder.mkdir()
    woman, man = PersonName
    _save(folder, "vhf", woman, ("vhf",))
    _save(folder, "vhm", man, ("vhm",))
    _save(folder, "vhf_25", woman, ("vhf", "vhm"))
    _save(folder, "pelvic004", man, ("pelvic004", "vhm"))
    _save(folder, "pelvic004_f", woman, ("pelvic004_f", "vhf"))
    _save(folder, "mix_000", woman, ("vhf", "vhm"))
    _save(folder, "mix_001", woman, ("pelvic004_f", "vhf"))
    return folder


def test_nobody_with_anatomy_of_the_one_left_out_is_in_the_pool(bench: ModuleType, people: Path):
    found = {d.left_out: d.pool for d in bench.directions(people, ["vhf", "vhm", "pelvic004*"], ())}
    assert found["vhf"] == ("pelvic004", "vhm")
    assert found["vhm"] == ("mix_001", "pelvic004_f", "vhf")
    assert found["pelvic004*"] == ("mix_000", "vhf", "vhf_25", "vhm")


def test_others_keep_people_away_from_the_pools(bench: ModuleType, people: Path):
    found = bench.directions(people, ["pelvic004*"], ["vh[fm]"])
    assert [d.pool for d in found] == [("vhf", "vhm")]
    with pytest.raises(SettingsError, match="Everybody has anatomy"):
        bench.directions(people, ["vhm"], ["vhm", "vhf_25"])


def _without_note(path: Path) -> None:
    with np.load(path) as data:
        arrays = dict(data)
    head = json.loads(bytes(arrays["head"]))
    del head["made_from"]
    np.savez(path, **arrays | {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)})


def test_files_that_do_not_note_it_are_judged_by_their_names(bench: ModuleType, people: Path):
    for name in NAMES:
        _without_note(people / f"atlas_{name}.npz")
    found = {d.left_out: d.pool for d in bench.directions(people, ["vhf", "vhm", "pelvic004*"], ())}
    assert found["vhf"] == ("pelvic004", "vhm")
    assert found["vhm"] == ("pelvic004_f", "vhf")
    assert found["pelvic004*"] == ("vhf", "vhf_25", "vhm")  # of whom an old mixture is made, nobody knows


def test_people_who_are_not_there_and_names_twice_are_refused(bench: ModuleType, people: Path):
    with pytest.raises(MissingInputError, match="nobody"):
        bench.directions(people, ["vhf", "nobody"], ())
    with pytest.raises(SettingsError, match="same name"):
        bench.directions(people, ["pelvic004", "pelvic004*"], ())


class Played:
    """The commands that were called; scans of a person are written as ``vastus synth`` would."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, *arguments: object) -> None:
        words = [str(a) for a in arguments]
        self.calls.append(words)
        if words[0] == "synth" and "--pool" not in words:
            folder = Path(words[words.index("-o") + 1])
            labels = np.zeros((20, 20, 20), np.uint8)
            labels[4:10, 4:16, 4:16], labels[10:16, 4:16, 4:16] = 1, 2
            for part, image in (("imagesTr/a_0000", labels.astype(np.int16)), ("labelsTr/a", labels)):
                path = folder / f"{part}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(Volume(image, np.eye(4)), path)
            names = {"background": 0, "sartorius": 1, "rectus_femoris": 2}
            table = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": 1, "file_ending": ".nii.gz"}
            (folder / "dataset.json").write_text(json.dumps(table))


@pytest.fixture
def played(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Played:
    calls = Played()
    monkeypatch.setattr(bench, "vastus", calls)

    def copied(_run: Path, cases: list, predictions: Path) -> None:
        predictions.mkdir(parents=True, exist_ok=True)
        for case in cases:
            shutil.copy(case.labels, predictions / case.labels.name)

    monkeypatch.setattr(bench, "predict_cases", copied)
    return calls


def test_one_row_a_direction(bench: ModuleType, played: Played, people: Path, tmp_path: Path):
    out = tmp_path / "out"
    command = ["--atlas", str(people), "-o", str(out), "--minutes", "1"]
    options = ["--people", "vhf,pelvic004*", "--data", "drawn", "--mix", "0.3", "--init", "some-run"]
    bench.main([*command, *options])
    rows = pd.read_csv(out / "directions.csv")
    assert rows[["left_out", "tested_on"]].values.tolist() == [["vhf", "vhf"], ["pelvic004*", "pelvic004*"]]
    assert rows["trained_on"].tolist() == ["pelvic004 vhm", "mix_000 vhf vhf_25 vhm"]
    assert rows["dice"].tolist() == [1, 1]
    pool, train, test = played.calls[:3]
    assert [pool[i + 1] for i, word in enumerate(pool) if word == "--person"] == ["pelvic004", "vhm"]
    for name, value in (("--data", "drawn"), ("--mix", "0.3"), ("--init", "some-run")):
        assert train[train.index(name) + 1] == value
    assert "--network" not in train  # that of the weights
    assert test[test.index("--person") + 1] == "vhf"
    # A pool is never filled up with bodies of other people.
    with pytest.raises(OutputError, match="other people"):
        bench.main([*command, *options, "--others", "vh[fm]"])


def test_without_people_it_is_one_of_the_mesh_pack_against_the_other(
    bench: ModuleType, played: Played, people: Path, tmp_path: Path
):
    out = tmp_path / "out"
    bench.main(["--atlas", str(people), "-o", str(out), "--minutes", "1", "--same"])
    rows = pd.read_csv(out / "directions.csv")
    expected = [["vhf", "vhf", "vhm"], ["vhf", "vhm", "vhm"], ["vhm", "vhm", "vhf"], ["vhm", "vhf", "vhf"]]
    assert rows[["left_out", "tested_on", "trained_on"]].values.tolist() == expected
    assert all(call[call.index("--network") + 1] == "resunet" for call in played.calls if call[0] == "train")
