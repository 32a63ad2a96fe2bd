"""From many scans' volumes and one clinical table to a study's Results section."""
