//! Renaming: replace, no-replace and exchange, each one operation.

use crate::base::limits::LINKS_MAX;
use crate::format::inode::Inode;

use super::change::Change;
use super::directory::{Directory, Found};
use super::node::Locked;
use super::orphans::Departure;
use super::{Caller, Error, Fs, Ino, Kind, RenameMode, Result};

/// One end of a rename.
#[derive(Clone, Copy)]
struct End<'n> {
    dir: Ino,
    name: &'n [u8],
    hash: u64,
}

/// The directories of a rename, which may be one, with the changes to them.
struct Dirs<'p> {
    from: Directory<'p>,
    /// `None` when it is the same.
    to: Option<Directory<'p>>,
}

impl<'p> Dirs<'p> {
    fn to(&mut self) -> &mut Directory<'p> {
        self.to.as_mut().unwrap_or(&mut self.from)
    }
}

/// What was found at the two ends, all of it locked.
struct Plan<'p> {
    dirs: Dirs<'p>,
    source: Found,
    target: Option<Found>,
}

fn is_dir(found: &Found) -> bool {
    found.kind == Kind::Directory.entry_kind()
}

impl Fs {
    /// Gives a node another name, in one operation whatever `mode` makes of a node of that name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a directory that would come to lie in itself, and those of rename(2).
    pub fn rename(
        &self,
        _caller: &Caller,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
    ) -> Result<()> {
        super::names::check(from.1)?;
        super::names::check(to.1)?;
        let from = End { dir: from.0, name: from.1, hash: self.hash.of(from.1) };
        let to = End { dir: to.0, name: to.1, hash: self.hash.of(to.1) };
        let moves = from.dir != to.dir;
        let _order = moves.then(|| self.rename_lock.lock());
        // Children that had to be waited for out of order.
        let mut expected = Vec::new();
        loop {
            // Nothing below can change who is above whom, as long as the ends are what was checked here.
            let checked = if moves { self.check_no_cycle(from, to, mode)? } else { [None; 2] };
            let mut wanted = vec![from.dir, to.dir];
            wanted.append(&mut expected);
            let mut locked = match Locked::new(&self.nodes, &wanted) {
                Err(Error::Stale) if wanted.len() > 2 => continue,
                other => other?,
            };
            let mut plan = self.find_ends(&locked, from, to)?;
            let children = [Some(plan.source), plan.target];
            let unchecked = |found: &Found| moves && is_dir(found) && !checked.contains(&Some(found.ino));
            if children.iter().flatten().any(unchecked) {
                continue;
            }
            if !lock_children(&mut locked, &children)? {
                expected = children.iter().flatten().map(|found| found.ino).collect();
                continue;
            }
            if plan.target.is_some_and(|target| target.ino == plan.source.ino) {
                return if mode == RenameMode::NoReplace { Err(Error::Exists) } else { Ok(()) };
            }
            return match (mode, plan.target) {
                (RenameMode::NoReplace, Some(_)) => Err(Error::Exists),
                (RenameMode::Exchange, None) => Err(Error::NotFound),
                (RenameMode::Exchange, Some(target)) => {
                    self.exchange(&mut locked, &mut plan, from.dir, to.dir, target)
                }
                (RenameMode::Replace | RenameMode::NoReplace, _) => {
                    self.replace(&mut locked, &mut plan, from.dir, to)
                }
            };
        }
    }

    /// Refuses to move a directory into itself or below. Returns what was checked.
    fn check_no_cycle(&self, from: End<'_>, to: End<'_>, mode: RenameMode) -> Result<[Option<Ino>; 2]> {
        let source = self.find(from.dir, from.name)?;
        if is_dir(&source) {
            self.check_not_below(source.ino, to.dir)?;
        }
        let target = match self.find(to.dir, to.name) {
            Ok(found) => Some(found),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        if let (RenameMode::Exchange, Some(target)) = (mode, target.filter(is_dir)) {
            self.check_not_below(target.ino, from.dir)?;
        }
        Ok([Some(source.ino), target.map(|target| target.ino)])
    }

    fn check_not_below(&self, moved: Ino, destination: Ino) -> Result<()> {
        let mut above = destination;
        // There are no more levels than inodes.
        for _ in 0..=self.counters.inodes() {
            if above == moved {
                return Err(Error::Invalid);
            }
            if above == Ino::ROOT {
                return Ok(());
            }
            above = Ino(self.nodes.read(above)?.inode.parent);
        }
        Err(Error::Corrupt { ino: destination.0, detail: "it is below itself" })
    }

    fn find_ends(&self, locked: &Locked<'_>, from: End<'_>, to: End<'_>) -> Result<Plan<'_>> {
        let (from_node, to_node) = (locked.get(from.dir), locked.get(to.dir));
        from_node.need_dir()?;
        to_node.need_dir()?;
        if to_node.inode.nlink == 0 {
            return Err(Error::NotFound);
        }
        let mut dirs = Dirs {
            from: Directory::new(&*self.pages, from.dir, &from_node.inode),
            to: (from.dir != to.dir).then(|| Directory::new(&*self.pages, to.dir, &to_node.inode)),
        };
        let source = dirs.from.find(from.hash, from.name)?.ok_or(Error::NotFound)?;
        let target = dirs.to().find(to.hash, to.name)?;
        Ok(Plan { dirs, source, target })
    }

    fn replace(
        &self,
        locked: &mut Locked<'_>,
        plan: &mut Plan<'_>,
        from_dir: Ino,
        to: End<'_>,
    ) -> Result<()> {
        let now = self.now();
        let source = plan.source;
        let moves_dir = is_dir(&source);
        if let Some(target) = plan.target {
            match (moves_dir, is_dir(&target)) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                (true, true) if locked.get(target.ino).inode.pages > 0 => return Err(Error::NotEmpty),
                _ => {}
            }
            plan.dirs.to().redirect(&target, source.ino, source.kind)?;
        } else {
            plan.dirs.to().insert(to.hash, to.name, source.ino, source.kind)?;
        }
        plan.dirs.from.remove(&source)?;

        let mut parents = Parents::of(locked, from_dir, to.dir, now);
        if moves_dir {
            parents.move_dir()?;
        }
        if plan.target.as_ref().is_some_and(is_dir) {
            parents.lose_dir();
        }
        let moved = moved(locked.get(source.ino).inode, moves_dir, to.dir, now);
        let mut departure =
            plan.target.map(|target| Departure::of(self, locked.get(target.ino), now)).transpose()?;

        let mut change = Change::new();
        parents.record(&mut change, &plan.dirs);
        change.inode(source.ino, &moved);
        if let Some(departure) = &mut departure {
            departure.record(&mut change);
        }
        self.commit(change)?;
        parents.settle(locked);
        locked.get_mut(source.ino).inode = moved;
        if let Some(departure) = departure {
            departure.settle(self, locked);
        }
        Ok(())
    }

    fn exchange(
        &self,
        locked: &mut Locked<'_>,
        plan: &mut Plan<'_>,
        from_dir: Ino,
        to_dir: Ino,
        target: Found,
    ) -> Result<()> {
        let now = self.now();
        let source = plan.source;
        plan.dirs.from.redirect(&source, target.ino, target.kind)?;
        plan.dirs.to().redirect(&target, source.ino, source.kind)?;
        let mut parents = Parents::of(locked, from_dir, to_dir, now);
        match (is_dir(&source), is_dir(&target)) {
            (true, false) => parents.move_dir()?,
            (false, true) => parents.move_dir_back()?,
            _ => {}
        }
        let there = moved(locked.get(source.ino).inode, is_dir(&source), to_dir, now);
        let back = moved(locked.get(target.ino).inode, is_dir(&target), from_dir, now);
        let mut change = Change::new();
        parents.record(&mut change, &plan.dirs);
        change.inode(source.ino, &there);
        change.inode(target.ino, &back);
        self.commit(change)?;
        parents.settle(locked);
        locked.get_mut(source.ino).inode = there;
        locked.get_mut(target.ino).inode = back;
        Ok(())
    }
}

/// Locks what was found, in order where it can; says whether all of it is locked.
fn lock_children(locked: &mut Locked<'_>, children: &[Option<Found>; 2]) -> Result<bool> {
    let mut inos: Vec<Ino> = children.iter().flatten().map(|found| found.ino).collect();
    inos.sort_unstable();
    for ino in inos {
        if !locked.add(ino)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn moved(mut inode: Inode, is_dir: bool, parent: Ino, now: i64) -> Inode {
    inode.ctime = now;
    if is_dir {
        inode.parent = parent.0;
    }
    inode
}

/// The inodes of the two directories, or of the one, as they will be.
struct Parents {
    from: (Ino, Inode),
    to: Option<(Ino, Inode)>,
}

impl Parents {
    fn of(locked: &Locked<'_>, from: Ino, to: Ino, now: i64) -> Self {
        let touched = |ino: Ino| {
            let mut inode = locked.get(ino).inode;
            inode.mtime = now;
            inode.ctime = now;
            (ino, inode)
        };
        Parents { from: touched(from), to: (from != to).then(|| touched(to)) }
    }

    /// A directory leaves the first for the second.
    fn move_dir(&mut self) -> Result<()> {
        let Some((_, to)) = &mut self.to else { return Ok(()) };
        if to.nlink >= LINKS_MAX {
            return Err(Error::TooManyLinks);
        }
        to.nlink += 1;
        self.from.1.nlink = self.from.1.nlink.saturating_sub(1);
        Ok(())
    }

    /// A directory leaves the second for the first.
    fn move_dir_back(&mut self) -> Result<()> {
        let Some((_, to)) = &mut self.to else { return Ok(()) };
        if self.from.1.nlink >= LINKS_MAX {
            return Err(Error::TooManyLinks);
        }
        self.from.1.nlink += 1;
        to.nlink = to.nlink.saturating_sub(1);
        Ok(())
    }

    /// A directory in the second is replaced.
    fn lose_dir(&mut self) {
        let to = self.to.as_mut().map_or(&mut self.from.1, |(_, to)| to);
        to.nlink = to.nlink.saturating_sub(1);
    }

    fn record<'a>(&mut self, change: &mut Change<'a>, dirs: &'a Dirs<'_>) {
        change.pages += dirs.from.finish(&mut change.operation, &mut self.from.1);
        change.inode(self.from.0, &self.from.1);
        if let (Some((ino, inode)), Some(dir)) = (&mut self.to, &dirs.to) {
            change.pages += dir.finish(&mut change.operation, inode);
            change.inode(*ino, inode);
        }
    }

    fn settle(self, locked: &mut Locked<'_>) {
        for (ino, inode) in [Some(self.from), self.to].into_iter().flatten() {
            locked.get_mut(ino).inode = inode;
        }
    }
}
