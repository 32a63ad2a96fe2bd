"""What comes over the network and is not trusted yet."""
