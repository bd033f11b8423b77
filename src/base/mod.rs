//! What every layer shares: identifiers, sizes and limits. No I/O, no locks.

mod budget;
mod ids;
pub mod limits;
mod name;
mod size;

pub use budget::{BudgetReason, DERIVED_BYTES_MIN, MemoryBudget};
mod page;

pub use ids::{BlockNo, FileNo, LayerId, Lsn, PageNo, Seq, SlotNo, Space};
pub use name::{InvalidName, Name};
pub use page::PageBuf;
pub use size::{InvalidSize, Size};
