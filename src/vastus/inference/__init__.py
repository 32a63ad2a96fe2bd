"""Inference: a bundle of weights, runtimes, sliding windows, sides, and the way back to the original grid."""
