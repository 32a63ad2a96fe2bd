"""Training: networks, data, loop, cross-validation, export. Needs ``vastus[train]`` (torch, MONAI)."""
