"""Reserved for reinforcement learning: there is none in this version."""
