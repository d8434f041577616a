"""A volume and a predictor to a delineation."""
