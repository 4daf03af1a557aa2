"""Learning from episodes of one's own while they are played."""
