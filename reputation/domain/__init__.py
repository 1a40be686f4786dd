"""Pure Python: no Django, no I/O; the time is a parameter."""
