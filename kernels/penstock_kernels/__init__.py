"""Device code of Penstock: Triton kernels, each with a plain torch reference."""
