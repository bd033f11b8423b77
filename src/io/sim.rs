//! A simulated disk, clock and randomness for tests, driven by a seed.
