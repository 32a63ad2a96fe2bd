"""What an installation has, what it lacks, whether it works and how fast it is: ``vastus doctor``."""
