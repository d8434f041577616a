"""Files to a study and its volumes."""
