import json
from dataclasses import replace

import pandas as pd
import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from vastus.cli.main import app
from vastus.cohort import document as document_room
from vastus.cohort import narrative
from vastus.cohort.page import render_page
from vastus.cohort.problems import EmptyCohortError, Problem, ProblemKind
from vastus.cohort.runner import CohortRun, criteria_name, parse_sex_codes, run_cohort
from vastus.cohort.workbook import write_cohort_workbook
from vastus.errors import SettingsError


@pytest.fixture(scope="module")
def done(example, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "results"
    found = CliRunner().invoke(app, ["cohort", str(example[0]), str(example[1]), "-o", str(folder), "--json"])
    assert found.exit_code == 0, found.output
    return folder, json.loads(found.stdout)


def test_the_papers_finding_has_the_shape_that_was_planted(done):
    _, record = done
    rows = {(r["stratum"], r["feature"]): r for r in record["correlation_sarcopenia"]}
    for group in ("anterior", "medial", "posterior", "gluteal"):
        assert rows["Men", f"group:{group}"]["r"] < -0.6
        assert rows["Women", f"group:{group}"]["p"] > 0.05
    assert record["simulated"] is True


def test_everything_is_written_and_agrees(done):
    folder, record = done
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "This cohort is simulated" in page
    assert page.count("<svg") == 6
    assert "http-equiv" not in page
    assert "<link" not in page
    assert json.loads((folder / "run.json").read_text(encoding="utf-8")) == record
    csv = pd.read_csv(folder / "tables/correlation_sarcopenia.csv")
    parquet = pd.read_parquet(folder / "tables/correlation_sarcopenia.parquet")
    pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)
    for stem in ("heatmap_muscles", "heatmap_groups", "correlation_intervals", "flow", "roc", "change"):
        for suffix in ("svg", "pdf", "png"):
            assert (folder / f"figures/{stem}.{suffix}").stat().st_size > 1000
    assert not list(folder.rglob(".vastus-*"))


def test_workbook_has_a_row_a_patient_and_a_dictionary(done):
    folder, record = done
    book = load_workbook(folder / record["workbook"])
    people = pd.read_csv(folder / "tables/people.csv")
    assert book["people"].max_row == len(people) + 1 == book["structures"].max_row
    units = {(sheet, column): unit for sheet, column, unit, _ in book["dictionary"].values}
    assert units["people", "smi_kg_m2"] == "kg/m²" and units["structures", "Sartorius"] == "cm³/m²"
    assert units["reference_muscles", "percent_of_expected"] == "%"
    assert [(sheet, column) for sheet, column, _, meaning in book["dictionary"].values if not meaning] == []
    dates = [row[0] for row in book["people"].iter_rows(min_row=2, min_col=3, max_col=3, values_only=True)]
    assert dates == list(people["scan_date"])
    assert "problems" in book.sheetnames and "correlation_sarcopenia" in book.sheetnames


def test_document_holds_sentences_and_tables(done):
    docx = pytest.importorskip("docx")
    folder, record = done
    document = docx.Document(str(folder / record["document"]))
    text = "\n".join(p.text for p in document.paragraphs)
    assert "Table 1a. All participants, by sarcopenia." in text and "simulated" in text
    assert document.tables[0].rows[0].cells[2].text == "Without"


def test_without_python_docx_there_is_no_document(tmp_path, monkeypatch):
    monkeypatch.setattr(document_room, "find_spec", lambda _: None)
    assert document_room.write_document(tmp_path / "t.docx", None) is False
    assert not list(tmp_path.iterdir())


def test_a_tiny_group_is_named_in_the_sentence_that_it_concerns():
    rows = pd.DataFrame({"n_without": [5, 4], "n_with": [40, 39]})
    assert narrative._caution(rows, "Men").startswith("; this rests on only 5 men without sarcopenia:")
    assert narrative._caution(rows.assign(n_without=30), "Men") == ""


def test_example_is_written_by_the_command(tmp_path):
    found = CliRunner().invoke(app, ["cohort", "--example", str(tmp_path)])
    assert found.exit_code == 0
    assert "simulated" in found.stdout
    assert (tmp_path / "volumes.csv").exists()
    assert (tmp_path / "clinical.csv").exists()


def test_missing_arguments_are_asked_for():
    assert CliRunner().invoke(app, ["cohort"]).exit_code == 2


def test_names_of_criteria():
    assert criteria_name("awgs2019") == "awgs_2019"
    assert criteria_name("AWGS-2019") == "awgs_2019"
    assert criteria_name("my/own.toml") == "my/own.toml"
    from vastus.sarcopenia import load_criteria

    assert load_criteria(criteria_name("awgs2025")).name == "AWGS 2025"


def _edited(folder, example, **changes):
    """The example's two tables with changed columns."""
    clinical, volumes = pd.read_csv(example[1], dtype=str), pd.read_csv(example[0], dtype=str)
    for table in (clinical, volumes):
        for column, change in changes.items():
            if column in table:
                table[column] = table[column].map(change)
    clinical.to_csv(folder / "c.csv", index=False)
    volumes.to_csv(folder / "v.csv", index=False)
    return folder / "v.csv", folder / "c.csv"


@pytest.mark.parametrize("codes", [{"M": "1", "F": "2"}, {"M": "Homme", "F": "Femme"}])
def test_unknown_words_for_the_sex_are_named_and_never_guessed(tmp_path, example, codes):
    volumes, clinical = _edited(tmp_path, example, sex=codes.get)
    with pytest.raises(EmptyCohortError) as caught:
        run_cohort(CohortRun(volumes, clinical, tmp_path / "out"))
    assert all(repr(word) in str(caught.value) for word in codes.values())
    assert "--sex-codes" in str(caught.value)
    problems = pd.read_csv(tmp_path / "out" / "tables" / "problems.csv")
    assert (problems["column"] == "sex").sum() == len(pd.read_csv(clinical))


def test_the_user_says_what_the_words_mean(tmp_path, example):
    volumes, clinical = _edited(tmp_path, example, sex={"M": "1", "F": "2"}.get)
    coded = run_cohort(CohortRun(volumes, clinical, tmp_path / "out", sex_codes=parse_sex_codes("1=M, 2=F")))
    plain = run_cohort(CohortRun(*example, tmp_path / "plain"))
    assert coded["counts"] == plain["counts"]
    with pytest.raises(SettingsError, match="1=X"):
        parse_sex_codes("1=X")


def test_names_that_differ_are_shown_as_a_pair(tmp_path, example):
    volumes, clinical = _edited(tmp_path, example, scan=lambda name: f"x{name}")
    with pytest.raises(EmptyCohortError, match="among the scans"):
        run_cohort(CohortRun(volumes, clinical, tmp_path / "out"))
    assert (tmp_path / "out" / "tables" / "problems.csv").is_file()


def test_thousands_with_commas_are_read(tmp_path, example):
    volumes, clinical = _edited(tmp_path, example, volume_mm3=lambda v: f"{float(v):,.1f}" if isinstance(v, str) else v)
    record = run_cohort(CohortRun(volumes, clinical, tmp_path / "out"))
    assert record["counts"] == run_cohort(CohortRun(*example, tmp_path / "plain"))["counts"]


def test_two_criteria_side_by_side(tmp_path, example):
    example = _edited(tmp_path, example, grip_kg=lambda _: "45")  # nobody is weak: slow people change
    command = ["cohort", *map(str, example), "-o", str(tmp_path / "out"), "--compare-criteria", "awgs_2025"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    record = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    people = pd.read_csv(tmp_path / "out" / "tables" / "two_criteria_people.csv")
    counts = pd.read_csv(tmp_path / "out" / "tables" / "two_criteria_counts.csv")
    assert record["compared_with"] == "awgs_2025"
    assert record["changed_group"] == int(people["changed"].sum()) > 0
    assert f"{record['changed_group']:>5} change group by awgs_2025" in found.stdout
    assert counts["n"].sum() == len(people) == sum(row["n"] for row in record["two_criteria"])
    alone = run_cohort(CohortRun(*example, tmp_path / "alone"))
    assert record["correlation_sarcopenia"] == alone["correlation_sarcopenia"]
    assert alone["compared_with"] is None and not (tmp_path / "alone/tables/two_criteria_people.csv").exists()


def test_criteria_are_not_compared_with_themselves(tmp_path, example):
    with pytest.raises(SettingsError, match="same criteria"):
        run_cohort(CohortRun(*example, tmp_path / "out", compare_criteria="AWGS-2019"))
    assert not (tmp_path / "out").exists()


def test_scans_that_must_stop_a_reader_stand_first_on_page_document_and_workbook(tmp_path, results):
    docx = pytest.importorskip("docx")
    told = (
        Problem(ProblemKind.STOPPED_SCAN, "left out: Turned over.", "S0007"),
        Problem(ProblemKind.WRONG_STRUCTURE, "used, but look", "S0008"),
    )
    stopped = replace(results, dataset=replace(results.dataset, problems=(*results.dataset.problems, *told)))
    assert document_room.write_document(tmp_path / "t.docx", stopped)
    lines = [p.text for p in docx.Document(str(tmp_path / "t.docx")).paragraphs]
    assert lines[1].startswith("STOP. No number is to be used of 1 scan; left out: S0007.")
    assert lines[2].startswith("STOP. In 1 scan some structures are likely wrong.")
    write_cohort_workbook(tmp_path / "t.xlsx", stopped)
    book = load_workbook(tmp_path / "t.xlsx")
    assert book.sheetnames[0] == "STOP" and "S0007" in book["STOP"]["A2"].value
    page = render_page(stopped, {}, {"vastus": "0"})
    assert page.index("left out: S0007") < page.index("<h2>")
    assert "STOP" not in render_page(results, {}, {"vastus": "0"})
