"""How well each structure is likely segmented, and whether it is likely wrong."""

from vastus.quality.agreement import Agreement, expect_agreement, load_model
from vastus.quality.columns import agreement_of_record, agreement_record, agreement_rows, in_words, likely_wrong

__all__ = [
    "Agreement",
    "agreement_of_record",
    "agreement_record",
    "agreement_rows",
    "expect_agreement",
    "in_words",
    "likely_wrong",
    "load_model",
]
