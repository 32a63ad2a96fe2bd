import pandas as pd
import pytest

from vastus.cohort.clinical_table import read_clinical_table
from vastus.cohort.narrative import published_sentences
from vastus.cohort.page import render_page
from vastus.cohort.results import analyse
from vastus.cohort.selection import load_rules
from vastus.cohort.volumes_table import read_volumes
from vastus.sarcopenia import load_criteria

THIGH = {"anterior", "medial", "posterior"}


@pytest.fixture(scope="module")
def found(example, tmp_path_factory):
    """The example, with every person 165 cm and 60 kg; ages 52 and 70 in turn; the first has no whole gracilis."""
    folder = tmp_path_factory.mktemp("published")
    clinical = pd.read_csv(example[1], dtype={"subject": str, "scan": str})
    clinical["age_years"] = clinical["subject"].map(
        {s: (52, 70)[n % 2] for n, s in enumerate(clinical["subject"].unique())}
    )
    clinical = clinical.assign(height_cm=165, weight_kg=60)
    clinical.to_csv(folder / "c.csv", index=False)
    volumes = pd.read_csv(example[0])
    own = volumes["subject"].eq(clinical["scan"].iloc[0])
    volumes.loc[own & volumes["structure"].eq("gracilis") & volumes["side"].eq("left"), "truncated"] = True
    volumes.to_csv(folder / "v.csv", index=False)
    results = analyse(
        read_volumes(folder / "v.csv"), read_clinical_table(folder / "c.csv"), load_criteria("awgs_2019"), load_rules()
    )
    return results, volumes


def test_ratio_and_published_mean_by_hand(found):
    results, volumes = found
    table = results.published.thigh.set_index("subject")
    assert list(table.index) == list(results.dataset.people.index)
    for subject in table.index[1:5]:
        own = volumes[volumes["subject"] == results.dataset.people.loc[subject, "scan"]]
        muscle = own.loc[own["group"].isin(THIGH), "volume_mm3"].sum()
        ratio = muscle / own.loc[own["structure"] == "femur", "volume_mm3"].sum()
        row = table.loc[subject]
        assert row["thigh_muscle_to_femur"] == pytest.approx(ratio)
        if row["age_years"] == 70:
            assert row["published_mean"] == {"M": 11.6, "F": 11.5}[row["sex"]] and row["note"] == ""
        else:
            assert pd.isna(row["published_mean"]) and row["note"] == "no reference for this age and sex"


def test_what_is_not_whole_has_no_ratio(found):
    first = found[0].published.thigh.iloc[0]
    assert pd.isna(first["thigh_muscle_to_femur"]) and first["note"] == "not all is whole"


def test_percent_of_expected_by_hand(found):
    results, volumes = found
    table = results.published.muscles.set_index(["subject", "structure", "side"])["percent_of_expected"]
    subject = results.dataset.people.index[3]
    own = volumes[(volumes["subject"] == results.dataset.people.loc[subject, "scan"]) & (volumes["side"] == "left")]
    volume = own.loc[own["structure"] == "gracilis", "volume_mm3"].iloc[0]
    assert table[subject, "gracilis", "left"] == pytest.approx(volume / 10 / (0.58 * 1.65 * 60 + 32.1))
    assert "psoas" not in table.index.get_level_values("structure")
    assert (results.dataset.people.index[0], "gracilis", "left") not in table.index
    assert table.notna().all()


def test_the_page_sets_them_apart(found):
    results, _ = found
    page = render_page(results, {}, {"vastus": "0"})
    assert "<h2>Beside published values</h2>" in page and "no diagnosis and no test on this page reads them" in page
    text = " ".join(published_sentences(results))
    men = results.published.thigh.query("sex == 'M' and thigh_muscle_to_femur.notna()")
    assert f"Men: thigh muscle to femur volume {men['thigh_muscle_to_femur'].mean():.1f} ±" in text
    assert f"{men['published_mean'].isna().sum()} have no reference for this age and sex" in text
