"""Flows and tasks; the only importer of Prefect."""
