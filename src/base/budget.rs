//! How much memory the daemon may use when nobody says.

use std::fmt;

use super::Size;

/// The least that a derived budget is, in bytes: below it nothing useful fits.
pub const DERIVED_BYTES_MIN: u64 = 32 << 20;

/// A memory budget and where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryBudget {
    pub bytes: u64,
    pub reason: BudgetReason,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BudgetReason {
    /// The operator said so; taken as it is.
    Explicit,
    /// A quarter of the machine's memory.
    Machine { total_bytes: u64 },
    /// A quarter of what the control group allows, which is less than the machine has.
    ControlGroup { limit_bytes: u64 },
}

impl MemoryBudget {
    /// An explicit size verbatim; else a quarter of the smaller of the machine's memory and the
    /// control group's limit.
    pub fn derive(explicit_bytes: Option<u64>, machine_bytes: u64, cgroup_bytes: Option<u64>) -> Self {
        if let Some(bytes) = explicit_bytes {
            return MemoryBudget { bytes, reason: BudgetReason::Explicit };
        }
        let (available, reason) = match cgroup_bytes {
            Some(limit_bytes) if limit_bytes < machine_bytes => {
                (limit_bytes, BudgetReason::ControlGroup { limit_bytes })
            }
            _ => (machine_bytes, BudgetReason::Machine { total_bytes: machine_bytes }),
        };
        MemoryBudget { bytes: (available / 4).max(DERIVED_BYTES_MIN), reason }
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = Size { bytes: self.bytes };
        match self.reason {
            BudgetReason::Explicit => write!(f, "memory budget {size}, as asked for"),
            BudgetReason::Machine { total_bytes } => {
                write!(f, "memory budget {size}, a quarter of the machine's {}", Size { bytes: total_bytes })
            }
            BudgetReason::ControlGroup { limit_bytes } => {
                let limit = Size { bytes: limit_bytes };
                write!(f, "memory budget {size}, a quarter of the control group's limit of {limit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn an_explicit_budget_is_taken_verbatim() {
        for bytes in [1, 64 << 20, 100 * GIB] {
            let budget = MemoryBudget::derive(Some(bytes), 8 * GIB, Some(GIB));
            assert_eq!(budget, MemoryBudget { bytes, reason: BudgetReason::Explicit });
        }
    }

    #[test]
    fn a_container_gets_a_quarter_of_its_own_limit_not_of_the_machine() {
        let budget = MemoryBudget::derive(None, 64 * GIB, Some(GIB));
        assert_eq!(budget.bytes, GIB / 4);
        assert_eq!(budget.reason, BudgetReason::ControlGroup { limit_bytes: GIB });
        assert!(budget.to_string().contains("256 MiB"), "{budget}");
    }

    #[test]
    fn a_limit_above_the_machine_counts_as_none() {
        for limit in [None, Some(u64::MAX), Some(8 * GIB)] {
            let budget = MemoryBudget::derive(None, 8 * GIB, limit);
            assert_eq!(budget.bytes, 2 * GIB);
            assert_eq!(budget.reason, BudgetReason::Machine { total_bytes: 8 * GIB });
        }
    }

    #[test]
    fn a_derived_budget_has_a_floor() {
        assert_eq!(MemoryBudget::derive(None, 64 << 20, None).bytes, DERIVED_BYTES_MIN);
    }
}
