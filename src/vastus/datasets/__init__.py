"""Open data sets of drawn slices: labels and strokes here, the CT from the user's own download.

``layout`` reads and writes a set's tables, ``matching`` finds its images by their voxels, ``building`` puts both
together.
"""
