"""The experiment file: its schema, and every check that needs no torch."""
