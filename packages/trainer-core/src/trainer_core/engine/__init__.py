"""Building an experiment and running its one loop."""
