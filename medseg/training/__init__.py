"""From expert masks to weights; with model the only place for torch and MONAI."""
