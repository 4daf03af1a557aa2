"""One experiment in several processes that meet through torch.distributed; runners start them."""
