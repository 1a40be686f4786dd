"""English, as the operators of machines write it."""
