"""What every room may use: files written whole, cache keys, terminals, this machine, downloads."""
