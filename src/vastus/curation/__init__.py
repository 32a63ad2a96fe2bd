"""Which scan to correct next, where to look in it, and which labels of a folder are not to be trusted.

What other rooms call:

- ``uncertainty.estimate_uncertainty(predictor, scan, settings=UncertaintySettings(), on_progress=None)`` ->
  ``Uncertainty(labels, voxels, by_value, score)``: the prediction as usual, ``voxels`` a uint8 ``Volume`` on the grid
  of the scan (0 sure .. 100 as unsure as can be: the overlay), ``by_value`` per label value (0..1), ``score`` of the
  scan (0..1). ``predictor`` is anything with ``.segment(scan) -> .labels``; it is asked 1 + ``variations`` (4) times.
- ``ranking.rank_cases(candidates, strategy, seed=0, known=())`` -> tuple of ``Ranked(case, score)``, best first.
  ``Candidate(case, uncertainty, features)``; ``ranking.Strategy`` is ``UNCERTAINTY``, ``DIVERSITY``, ``RANDOM`` or
  ``COMBINED``; ``known`` are the candidates that are corrected already; ``ranking.case_features(scan, labels)`` gives
  the features (labels: the model's or anyone's).
- ``label_noise.check_labels(cases, output, options=CheckOptions(), on_progress=None)`` -> tuple of ``Finding``, ranked.
  ``LabelledCase(name, scan_path, labels_path)``; ``label_noise.find_cases(folder)`` lists those of a folder.
  ``CheckOptions(predict=None, pictures=True, ...)``: ``predict(case_name, scan) -> labels Volume`` or None.
  Writes ``findings.csv``, ``index.html``, ``patches/`` and ``pictures/`` into ``output``.
- ``findings.read_findings(output)`` -> tuple of ``Finding``: ``id`` (text), ``case``, ``value`` (label value, 0 for a
  whole scan), ``kind``, ``score`` (1 and more: over its limit), ``slice_index`` (axial, counted from the feet),
  ``point_mm`` (RAS+, where to look), ``detail``, ``has_proposal``, ``decision`` (open, accepted, rejected);
  ``findings.picture_path(output, finding_id)``; ``findings.propose(output, finding_id, labels)`` -> the label map
  ``Volume`` with the proposal
  in it (nothing is stored); ``findings.accept(output, finding_id, labels)`` -> the same, and the decision is recorded;
  ``findings.reject(output, finding_id)`` records. ``labels`` must lie on the grid of the labels that were checked.
"""
