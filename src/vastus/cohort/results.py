"""Everything computed for one cohort, in one object: tables to be written and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vastus.cohort import association, follow_up
from vastus.cohort.clinical_table import ClinicalTable
from vastus.cohort.dataset import STATUS, StudyData, build_dataset
from vastus.cohort.figures import FigureTask, tasks_of_changes, tasks_of_predictions, tasks_of_relations
from vastus.cohort.prediction import Prediction, predict_status
from vastus.cohort.problems import problems_table
from vastus.cohort.published import Published, published_values
from vastus.cohort.selection import Rule, flow_table
from vastus.cohort.table_one import STRATA, stratum, table_one
from vastus.cohort.two_criteria import TwoCriteria, compare_criteria
from vastus.cohort.volumes_table import Volumes, feature_label
from vastus.sarcopenia import Criteria

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class CohortResults:
    """Results of ``analyse``; the columns of each table are said where it is made."""

    dataset: StudyData
    criteria: Criteria
    table_one: pd.DataFrame
    status_correlations: pd.DataFrame
    continuous_correlations: pd.DataFrame
    prediction: Prediction
    sides: pd.DataFrame
    changes: pd.DataFrame
    change_summary: pd.DataFrame
    change_by_fracture_type: pd.DataFrame
    published: Published
    two_criteria: TwoCriteria | None = None

    @property
    def counts(self) -> pd.DataFrame:
        """People of known status: sex, sarcopenia (0, 1), n."""
        return count_status(self.dataset)

    def power_notes(self) -> dict[str, str]:
        """Say what the group sizes of each stratum can show."""
        notes = {}
        for name, sex in STRATA:
            status = stratum(self.dataset.people, self.dataset.people, sex)[STATUS]
            if len(status):
                notes[name] = association.power_note(int((status == 0).sum()), int((status == 1).sum()))
        return notes

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """List (file stem, tidy table) of every table to write."""
        import pandas as pd

        yield "people", self.dataset.people.reset_index().drop(columns="row")
        index = self.dataset.index_cm3_m2.rename_axis(index="subject", columns="feature").stack()
        volumes = index.rename("volume_per_height2_cm3_m2").reset_index()
        volumes.insert(2, "label", [feature_label(f, self.dataset.table) for f in volumes["feature"]])
        yield "volumes_per_height2", volumes
        yield "flow", flow_table(self.dataset.flow)
        left_out = pd.DataFrame(list(self.dataset.left_out.items()), columns=["id", "reason"])
        yield "left_out", left_out
        yield "problems", problems_table(self.dataset.problems)
        yield "table_one", self.table_one
        yield "correlation_sarcopenia", self.status_correlations
        yield "correlation_measures", self.continuous_correlations
        yield "prediction", self.prediction.table
        yield "roc_curves", self._roc_table()
        yield "fractured_against_other_side", self.sides
        yield "change_people", self.changes
        yield "change_summary", self.change_summary
        yield "change_by_fracture_type", self.change_by_fracture_type
        yield "reference_thigh", self.published.thigh
        yield "reference_muscles", self.published.muscles
        if self.two_criteria is not None:
            yield "two_criteria_people", self.two_criteria.people
            yield "two_criteria_counts", self.two_criteria.counts

    def _roc_table(self) -> pd.DataFrame:
        import pandas as pd

        names = ["stratum", "label", "false_positive_rate", "true_positive_rate"]
        parts = [
            pd.DataFrame(
                dict(zip(names, (c.stratum, c.label, c.false_positive_rate, c.true_positive_rate), strict=True))
            )
            for c in self.prediction.curves
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)

    def not_measured(self) -> list[str]:
        """List the names of muscles that nobody has whole."""
        empty = self.dataset.index_cm3_m2.isna().all()
        return [muscle.english for muscle in self.dataset.table.muscles if empty[muscle.key]]


def count_status(dataset: StudyData) -> pd.DataFrame:
    """Count the people of known status: sex, sarcopenia (0, 1), n."""
    people = dataset.people[dataset.people[STATUS].notna()]
    return people.groupby(["sex", STATUS]).size().rename("n").reset_index()


def analyse(  # noqa: PLR0913
    volumes: Volumes,
    clinical: ClinicalTable,
    criteria: Criteria,
    rules: Sequence[Rule],
    *,
    seed: int = 0,
    compare: Criteria | None = None,
    draw: Callable[[FigureTask], None] = lambda _: None,
) -> CohortResults:
    """Select, diagnose, and compute every table. ``seed`` is for the bootstrap; ``compare`` a second criteria.

    Args:
        volumes: volumes of every scan.
        clinical: the clinical table.
        criteria: criteria of the diagnosis.
        rules: inclusion and exclusion rules, in order.
        seed: of the bootstrap.
        compare: second criteria, or None.
        draw: called with each figure as soon as its data are known.

    Returns:
        Every table of the cohort.

    Raises:
        EmptyCohortError: nobody is left.
    """

    def draw_all(tasks: Sequence[FigureTask]) -> None:
        for task in tasks:
            draw(task)

    dataset = build_dataset(volumes, clinical, criteria, rules)
    correlations = association.status_correlations(dataset)
    draw_all(tasks_of_relations(dataset.flow, count_status(dataset), correlations, dataset.table))
    prediction = predict_status(dataset, correlations, seed)
    draw_all(tasks_of_predictions(prediction.curves, prediction.table))
    changed = follow_up.changes(dataset)
    change_summary = follow_up.change_summary(changed)
    draw_all(tasks_of_changes(change_summary, dataset.table))
    return CohortResults(
        dataset=dataset,
        criteria=criteria,
        table_one=table_one(dataset.people),
        status_correlations=correlations,
        continuous_correlations=association.continuous_correlations(dataset),
        prediction=prediction,
        sides=follow_up.side_differences(dataset),
        changes=changed,
        change_summary=change_summary,
        change_by_fracture_type=follow_up.change_by_fracture_type(changed),
        published=published_values(dataset),
        two_criteria=None if compare is None else compare_criteria(dataset.people, criteria, compare),
    )
