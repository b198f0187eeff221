"""Speed of Penstock's parts, each beside what bounds it, measured in the same run: `make bench`."""
