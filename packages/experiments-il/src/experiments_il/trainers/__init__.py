"""Trainers of policies; each computes one loss."""
