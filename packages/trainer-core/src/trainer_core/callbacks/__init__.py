"""The callbacks that come with the engine; they implement the same hooks as plugins."""
