"""The networks of the papers in plain PyTorch."""
