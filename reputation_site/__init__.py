"""The composition root: settings, URLs, schedule, and the commands that start the house. Imported by nobody."""
