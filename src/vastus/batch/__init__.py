"""An archive of scans through one processor, on one machine or a cluster, with nothing lost and nothing done twice."""
