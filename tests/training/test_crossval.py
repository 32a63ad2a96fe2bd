from pathlib import Path

import pytest

pytest.importorskip("torch")
from training.nnunet_folder import write_data_set
from training.tiny import tiny_config
from vastus.errors import UnreadableScanError
from vastus.preprocessing import PreprocessingSettings
from vastus.training.config import ANATOMY_CLASSES
from vastus.training.crossval import CrossvalPlan, cross_validate
from vastus.training.loop import TrainOptions
from vastus.volume import Volume

COARSE = PreprocessingSettings(spacing_mm=(12.0, 12.0, 12.0), window_size=(32, 32, 16))


@pytest.mark.slow
def test_two_networks_end_in_one_table_and_one_figure(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "set", 2)
    common = {"preprocessing": COARSE.to_dict(), "classes": ANATOMY_CLASSES, "steps": 2, "validation_steps": 2}
    plan = CrossvalPlan(
        {
            "resunet": tiny_config(**common),
            "unet": tiny_config(
                network="unet", network_arguments={"channels": [4, 8], "strides": [2], "num_res_units": 0}, **common
            ),
        },
        fold_count=2,
    )
    told: list[str] = []
    out = tmp_path / "out"
    result = cross_validate(data, out, plan, TrainOptions(workers=0, progress=False), tell=told.append)
    assert result.models == ("resunet", "unet")
    assert result.case_count == 2
    for name in ("scores.csv", "summary.csv", "summary.md", "figures/boxplot_dice.png"):
        assert (out / name).is_file()
    assert (data / "splits_final.json").is_file()
    times = {p: p.stat().st_mtime_ns for p in (out / "predictions").rglob("*.nii.gz")}
    assert len(times) == 4
    # Running it again trains and predicts nothing anew.
    cross_validate(data, out, plan, TrainOptions(workers=0, progress=False))
    assert {p: p.stat().st_mtime_ns for p in times} == times


@pytest.mark.slow
def test_a_held_out_case_that_fails_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vastus.inference.predictor import Predictor

    data = write_data_set(tmp_path / "set", 2)
    common = {"preprocessing": COARSE.to_dict(), "classes": ANATOMY_CLASSES, "steps": 2, "validation_steps": 2}
    plan = CrossvalPlan({"resunet": tiny_config(**common)}, fold_count=2)
    segment, calls = Predictor.segment, []

    def fails_first(self: Predictor, volume: Volume) -> object:
        calls.append(volume)
        if len(calls) == 1:
            raise MemoryError("Allocation failed")
        return segment(self, volume)

    monkeypatch.setattr(Predictor, "segment", fails_first)
    out = tmp_path / "out"
    with pytest.raises(UnreadableScanError, match="not in the numbers: case"):
        cross_validate(data, out, plan, TrainOptions(workers=0, progress=False))
    assert (out / "scores.csv").is_file() and len(list((out / "predictions").rglob("*.nii.gz"))) == 1
    result = cross_validate(data, out, plan, TrainOptions(workers=0, progress=False))
    assert result.case_count == 2
