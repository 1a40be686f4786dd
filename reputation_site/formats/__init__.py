"""How dates and times are written on screen; see FORMAT_MODULE_PATH."""
