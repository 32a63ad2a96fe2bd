"""How well each structure is likely segmented, and whether it is likely wrong."""

from vastus.quality.agreement import Agreement, expect_agreement, load_model
from vastus.quality.columns import agreement_of_record, agreement_record, agreement_rows, in_words, likely_wrong
from vastus.quality.missing import Missing, find_missing

__all__ = [
    "Agreement",
    "Missing",
    "agreement_of_record",
    "agreement_record",
    "agreement_rows",
    "expect_agreement",
    "find_missing",
    "in_words",
    "likely_wrong",
    "load_model",
]
