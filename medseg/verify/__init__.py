"""The gate: every export of a run is parsed again and compared before the run is published."""
