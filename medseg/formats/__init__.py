"""One door for each outside convention; LPS and (k, j, i) exist only here."""
