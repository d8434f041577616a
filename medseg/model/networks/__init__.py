"""Networks, each built from its settings alone."""
