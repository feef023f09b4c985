"""Floor 0: errors, ids, clock, randomness, progress, arrays and kernels. Imports nothing of Penchant."""
