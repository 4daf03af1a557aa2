"""Where metrics go: the terminal, a file, W&B. Run by rank 0; a broken one is switched off."""
