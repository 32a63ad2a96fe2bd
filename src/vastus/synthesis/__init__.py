"""Labelled CT made from meshes of real anatomy, and a small analytic phantom."""
