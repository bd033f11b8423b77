//! Identifiers as types, so that a page number is never taken for a slot.

use serde::{Deserialize, Serialize};

use super::limits::PAGES_PER_BLOCK;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// A sparse array of pages within a volume, numbered by inode; 0 is the inode table.
    Space(u64)
}
id! {
    /// A page's place within its space, in units of 4 KiB.
    PageNo(u64)
}
id! {
    /// A block's place within its space, in units of 128 KiB.
    BlockNo(u64)
}
id! {
    /// What changed in a volume since a base. Never reused within a data directory.
    LayerId(u64)
}
id! {
    /// The place of a batch in its stream of heap files; consecutive.
    Lsn(u64)
}
id! {
    /// The order of a mutation; the highest wins, wherever its page has been moved to since.
    Seq(u64)
}
id! {
    /// A heap file. Never reused within a data directory.
    FileNo(u64)
}
id! {
    /// A page-sized place within a heap file, in units of 4 KiB.
    SlotNo(u32)
}

impl PageNo {
    /// The block that holds this page.
    pub fn block(self) -> BlockNo {
        BlockNo(self.0 / u64::from(PAGES_PER_BLOCK))
    }

    /// The page's index within its block, 0 to 31.
    pub fn in_block(self) -> u32 {
        u32::try_from(self.0 % u64::from(PAGES_PER_BLOCK)).expect("less than 32")
    }
}

impl BlockNo {
    /// The block's first page.
    pub fn first_page(self) -> PageNo {
        PageNo(self.0 * u64::from(PAGES_PER_BLOCK))
    }
}
