"""The networks of a project: those that it can use, and the training of new ones."""
