"""Labels that other programs and people made, brought into a data set of ours.

``name_tables`` says what a name means, ``discovery`` finds the cases, ``label_maps`` and ``dicom_labels`` read them,
``codebook`` gives values and ``importer`` writes the data set with its contact sheet and its lists.
"""
