"""A prediction and a reference to scores under named rules."""
