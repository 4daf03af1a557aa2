"""Python source looked up and read without importing it."""
