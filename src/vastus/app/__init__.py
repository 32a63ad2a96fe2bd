"""The app: one page in the browser for people who never open a terminal, served to this machine alone."""
