"""Many studies: what is to be done, by whom, and what became of it. No Prefect."""
