"""Evaluating a trained policy: with what, how long a plan takes, and how two policies compare."""
