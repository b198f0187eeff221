"""Which parallelism, pools and batch limits serve the most: a search on goodput over simulated clusters."""
