"""DICOM out: segmentation, structured report, contours, PDF; DICOM over the network; de-identification.

Needs the ``dicom`` extra, except for reading, which lives in ``vastus.io``.
"""
