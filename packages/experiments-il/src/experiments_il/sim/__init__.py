"""Simulators: recording of demonstrations and evaluation of policies."""
