"""Evaluation: overlap, surface distance, volume agreement, comparison of models and readers.

Definitions are in ``docs/reference-metrics.md``; the entry for one pair of label maps is
``vastus.evaluation.pair.evaluate_pair``.
"""
