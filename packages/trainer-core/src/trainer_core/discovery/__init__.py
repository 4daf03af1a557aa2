"""Which components exist, which are switched off, and which hooks listen."""
