"""The nouns of medseg, on numpy alone."""
