"""One annotation project: its scans, the history of its labels, its users and its queues."""
