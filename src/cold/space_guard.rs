//! Whether the disk has room for another heap file.

/// Free bytes that must be there before a file of `file_bytes` is made for `incoming_bytes`:
/// twice the larger of them.
pub(super) fn needed_bytes(file_bytes: u64, incoming_bytes: u64) -> u64 {
    file_bytes.max(incoming_bytes).saturating_mul(2)
}

/// Whether `free_bytes` suffice for it.
pub(super) fn has_room(free_bytes: u64, file_bytes: u64, incoming_bytes: u64) -> bool {
    free_bytes >= needed_bytes(file_bytes, incoming_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn free_space_below_twice_the_file_is_refused() {
        assert!(!has_room(128 * MIB - 1, 64 * MIB, 0));
        assert!(has_room(128 * MIB, 64 * MIB, 0));
    }

    #[test]
    fn a_large_append_raises_the_floor_above_the_file_size() {
        assert!(!has_room(2048 * MIB, 64 * MIB, 2048 * MIB));
        assert!(has_room(4096 * MIB, 64 * MIB, 2048 * MIB));
        assert!(!has_room(u64::MAX - 1, 64 * MIB, u64::MAX));
    }
}
