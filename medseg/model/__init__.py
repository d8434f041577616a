"""Networks, weights and runtimes; with training the only place for torch and MONAI."""
