"""What the papers claim, and what the same ideas give here: `make headlines`."""
