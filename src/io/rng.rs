//! Randomness: nonces, UUIDs, hash keys.

/// Source of random numbers. Production asks the kernel; the simulator draws from its seed.
pub trait Rng: Send + Sync + 'static {
    /// A uniformly random number.
    fn next_u64(&self) -> u64;
}
