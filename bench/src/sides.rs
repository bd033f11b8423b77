//! The two directories that are compared.

use std::path::{Path, PathBuf};

use crate::error::Outcome;
use crate::firn::Firn;

/// Side a (a volume unless another directory is given) and side b (a plain directory beside it).
pub struct Sides {
    a: PathBuf,
    b: PathBuf,
    title_a: String,
    title_b: String,
    /// Kept until the end: it holds what side a is mounted from.
    firn: Option<Firn>,
}

impl Sides {
    pub fn new(binary: &Path, place: &Path, a: Option<&Path>, b: Option<&Path>) -> Outcome<Self> {
        let firn = if a.is_some() && b.is_some() { None } else { Some(Firn::start(binary, place)?) };
        let title = |dir: Option<&Path>, otherwise: &str| {
            dir.map_or_else(|| otherwise.to_owned(), |dir| dir.display().to_string())
        };
        let dir_a = match (a, &firn) {
            (None, Some(firn)) => {
                firn.run(&["create", "bench"])?;
                firn.mount("bench")?
            }
            (a, _) => a.unwrap_or(place).to_owned(),
        };
        let dir_b = match (b, &firn) {
            (None, Some(firn)) => firn.plain_dir()?,
            (b, _) => b.unwrap_or(place).to_owned(),
        };
        let (title_a, title_b) = (title(a, "firn"), title(b, "plain"));
        Ok(Self { a: dir_a, b: dir_b, title_a, title_b, firn })
    }

    pub fn a(&self) -> &Path {
        &self.a
    }

    pub fn b(&self) -> &Path {
        &self.b
    }

    /// Says what the daemon of these sides complained about, if there is one.
    pub fn complain(&self) {
        self.firn.iter().for_each(Firn::complain);
    }

    pub fn titles(&self) -> (&str, &str) {
        (&self.title_a, &self.title_b)
    }
}
