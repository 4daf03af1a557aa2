"""Checkpoints: one immutable folder per step, whole under its final name or not there."""
