"""HTTP: the routes, who may ask, and what every request passes first."""
