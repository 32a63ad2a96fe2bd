"""Reading scans and label maps, writing results."""
