//! What every layer shares: identifiers, sizes and limits. No I/O, no locks.

mod ids;
pub mod limits;
mod name;

pub use ids::{BlockNo, FileNo, LayerId, Lsn, PageNo, Seq, SlotNo, Space};
pub use name::{InvalidName, Name};
