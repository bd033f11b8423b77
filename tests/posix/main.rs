//! What the filesystem means, without a mount: on pages in memory.

#[path = "../support/mem_pages.rs"]
mod mem_pages;

mod acls;
mod attributes;
mod crash;
mod damage;
mod data;
mod directories;
mod model;
mod names;
mod oracle;
mod orphans;
mod quota;
mod support;
mod xattrs;
