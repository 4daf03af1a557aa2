"""Experiment files of two earlier generations of this system, turned into ours."""
