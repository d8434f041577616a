"""A body with a known truth, made by arithmetic alone: for the demo, the tests and the training."""
