//! An engine on a simulated disk beside the model of all that it should hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firnfs::base::Name;
use firnfs::io::sim::{SimClock, SimDisk, SimRng};
use firnfs::io::{Disk, Rng};
use firnfs::volume::{Config, CreateOptions, Engine, Error, Mounted, Operation, Pages, Source};
use parking_lot::Mutex;

use super::compare::{assert_same, epoch};
use super::state::{EPOCH_SPACE, Head, State};

/// A volume of the model.
#[derive(Default)]
pub(crate) struct Volume {
    pub(crate) head: Head,
    pub(crate) snapshots: BTreeMap<Name, State>,
    pub(crate) mounted: Option<Arc<Mounted>>,
}

/// What a command that reported an error may have left behind, to be seen after the next start.
enum Doubt {
    Volume(Name, State),
    Snapshot(Name, Name, State),
    RolledBack(Name, State),
    Removed(Source),
}

/// How a life of the machine ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// SIGKILL: what was written stays.
    Kill,
    /// What was not synced may be there, or not, or torn.
    PowerCut,
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) rng: Arc<SimRng>,
    pub(crate) volumes: BTreeMap<Name, Volume>,
    engine: Option<Arc<Engine>>,
    config: Config,
    doubts: Vec<Doubt>,
    /// Numbers of operations and of names, never used twice.
    next_number: u64,
}

/// A head.
pub(crate) fn head(volume: &Name) -> Source {
    Source { volume: volume.clone(), snapshot: None }
}

/// A snapshot.
pub(crate) fn snapshot_of(volume: &Name, snapshot: &Name) -> Source {
    Source { volume: volume.clone(), snapshot: Some(snapshot.clone()) }
}

impl World {
    /// An empty data directory, its engine running.
    pub(crate) fn new(seed: u64, config: Config) -> Self {
        let rng = Arc::new(SimRng::new(seed));
        let mut world = World {
            disk: SimDisk::new(rng.next_u64()),
            clock: Arc::new(SimClock::new()),
            rng,
            volumes: BTreeMap::new(),
            engine: None,
            config,
            doubts: Vec::new(),
            next_number: 1,
        };
        world.engine = Some(world.open().expect("an empty data directory opens"));
        world
    }

    fn open(&self) -> Result<Arc<Engine>, Error> {
        // The engine's randomness is its own, so that it does not change the course of the test.
        let rng = Arc::new(SimRng::new(self.rng.next_u64()));
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Engine::open(disk, Arc::clone(&self.clock) as _, rng, self.config.clone())
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("an engine runs between steps")
    }

    pub(crate) fn volume(&mut self, name: &Name) -> &mut Volume {
        self.volumes.get_mut(name).expect("the model knows the volume")
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// A name that was never used.
    pub(crate) fn new_name(&mut self, kind: &str) -> Name {
        format!("{kind}{}", self.number()).parse().expect("letters and digits")
    }

    pub(crate) fn create(&mut self, name: &Name) -> Result<(), Error> {
        let outcome = self.engine().create(name, &CreateOptions::default());
        self.command(outcome, Doubt::Volume(name.clone(), State::default()))?;
        self.volumes.insert(name.clone(), Volume::default());
        Ok(())
    }

    pub(crate) fn mount(&mut self, name: &Name) -> Result<(), Error> {
        let mounted = self.engine().mount(&head(name), false)?;
        self.volume(name).mounted = Some(mounted);
        Ok(())
    }

    pub(crate) fn unmount(&mut self, name: &Name) {
        self.volume(name).mounted = None;
    }

    /// Applies an operation, its number added, to a mounted volume.
    pub(crate) fn apply(&mut self, name: &Name, mut operation: Operation<'static>) -> Result<(), Error> {
        let number = self.number();
        operation.write(EPOCH_SPACE, 0, number.to_le_bytes().to_vec());
        let mounted = self.mounted(name);
        for _ in 0..1000 {
            if mounted.has_room() || self.disk.crashed() {
                break;
            }
            self.engine().log_step(Duration::ZERO);
            self.engine().maintain_step(Duration::ZERO);
        }
        mounted.apply(&operation)?;
        self.volume(name).head.apply(operation);
        Ok(())
    }

    pub(crate) fn mounted(&mut self, name: &Name) -> Arc<Mounted> {
        Arc::clone(self.volume(name).mounted.as_ref().expect("the volume is mounted"))
    }

    /// Makes a mounted volume durable.
    pub(crate) fn sync(&mut self, name: &Name) -> Result<(), Error> {
        let outcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&outcome);
        self.mounted(name).sync(Box::new(move |result| *told.lock() = Some(result)));
        let mut steps = 0;
        while outcome.lock().is_none() {
            assert!(steps < 1000, "a sync ends");
            self.engine().log_step(Duration::ZERO);
            steps += 1;
        }
        let result = outcome.lock().take().expect("it has just been there");
        result?;
        self.volume(name).head.synced();
        self.doubts.retain(|doubt| !matches!(doubt, Doubt::RolledBack(volume, _) if volume == name));
        Ok(())
    }

    pub(crate) fn fork(&mut self, source: &Source, new: &Name) -> Result<(), Error> {
        let state = self.state_of(source);
        let outcome = self.engine().fork(source, new);
        self.command(outcome, Doubt::Volume(new.clone(), state.clone()))?;
        self.volumes.insert(new.clone(), Volume { head: Head::at(state), ..Volume::default() });
        Ok(())
    }

    pub(crate) fn snapshot(&mut self, volume: &Name, name: &Name) -> Result<(), Error> {
        let state = self.state_of(&head(volume));
        let outcome = self.engine().snapshot(volume, name);
        self.command(outcome, Doubt::Snapshot(volume.clone(), name.clone(), state.clone()))?;
        self.volume(volume).snapshots.insert(name.clone(), state);
        Ok(())
    }

    /// Takes an unmounted volume back to its snapshot.
    pub(crate) fn rollback(&mut self, volume: &Name, name: &Name) -> Result<(), Error> {
        let state = self.state_of(&snapshot_of(volume, name));
        let outcome = self.engine().rollback(volume, name);
        self.command(outcome, Doubt::RolledBack(volume.clone(), state.clone()))?;
        self.volume(volume).head = Head::at(state);
        Ok(())
    }

    pub(crate) fn remove(&mut self, source: &Source) -> Result<(), Error> {
        let outcome = self.engine().remove(source);
        self.command(outcome, Doubt::Removed(source.clone()))?;
        match &source.snapshot {
            Some(snapshot) => drop(self.volume(&source.volume).snapshots.remove(snapshot)),
            None => drop(self.volumes.remove(&source.volume)),
        }
        Ok(())
    }

    fn state_of(&self, source: &Source) -> State {
        let volume = &self.volumes[&source.volume];
        match &source.snapshot {
            Some(snapshot) => volume.snapshots[snapshot].clone(),
            None => volume.head.now().clone(),
        }
    }

    /// A command that succeeds has made its predecessors' outcome certain, too: they share a manifest.
    fn command<T>(&mut self, outcome: Result<T, Error>, doubt: Doubt) -> Result<(), Error> {
        match outcome {
            Ok(_) => {
                self.doubts.clear();
                Ok(())
            }
            Err(error) => {
                self.doubts.push(doubt);
                Err(error)
            }
        }
    }

    /// Ends the life of the machine, starts it again and holds what is there against the model.
    /// `interrupted` is at how many calls of the start it crashes again, once.
    pub(crate) fn crash(&mut self, end: End, interrupted: Option<u64>) {
        self.stop(end);
        if let Some(calls) = interrupted {
            self.disk.crash_at(calls);
            drop(self.open());
            self.stop(end);
        }
        self.engine = Some(self.open().unwrap_or_else(|error| panic!("start after a crash: {error}")));
        self.settle_doubts();
        self.verify_recovered();
    }

    fn stop(&mut self, end: End) {
        match end {
            End::Kill => self.disk.kill(),
            End::PowerCut => self.disk.power_cut(self.rng.next_u64()),
        }
        for volume in self.volumes.values_mut() {
            volume.mounted = None;
        }
        self.engine = None;
        self.disk = self.disk.reboot();
    }

    /// Closes the engine in order, and starts again.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        for volume in self.volumes.values_mut() {
            volume.mounted = None;
        }
        self.engine().close()?;
        for volume in self.volumes.values_mut() {
            volume.head.synced();
        }
        let end = if self.rng.one_in(2) { End::Kill } else { End::PowerCut };
        self.crash(end, None);
        Ok(())
    }

    /// Asks the started engine which of the doubtful commands have happened.
    fn settle_doubts(&mut self) {
        let listed: BTreeMap<Name, Vec<Name>> = self
            .engine()
            .list()
            .into_iter()
            .map(|info| (info.name, info.snapshots.into_iter().map(|snapshot| snapshot.name).collect()))
            .collect();
        for doubt in std::mem::take(&mut self.doubts) {
            match doubt {
                Doubt::Volume(name, state) => {
                    if listed.contains_key(&name) {
                        self.volumes.insert(name, Volume { head: Head::at(state), ..Volume::default() });
                    }
                }
                Doubt::Snapshot(volume, name, state) => {
                    if listed.get(&volume).is_some_and(|snapshots| snapshots.contains(&name)) {
                        self.volume(&volume).snapshots.insert(name, state);
                    }
                }
                Doubt::RolledBack(name, state) => {
                    let mounted = self.engine().mount(&head(&name), true).expect("it is there");
                    let volume = self.volume(&name);
                    let found = epoch(&*mounted);
                    if found == state.epoch() && volume.head.instant(found).is_none() {
                        volume.head = Head::at(state);
                    }
                }
                Doubt::Removed(source) => {
                    let there = listed.get(&source.volume);
                    match &source.snapshot {
                        Some(name) if !there.is_some_and(|snapshots| snapshots.contains(name)) => {
                            self.volume(&source.volume).snapshots.remove(name);
                        }
                        None if there.is_none() => drop(self.volumes.remove(&source.volume)),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Each volume is what it was at one instant, not before its last sync; and takes that as its state.
    fn verify_recovered(&mut self) {
        self.verify_names();
        let engine = Arc::clone(self.engine());
        for (name, volume) in &mut self.volumes {
            let mounted = engine.mount(&head(name), false).expect("a recovered volume can be mounted");
            let found = epoch(&*mounted);
            let state = volume.head.instant(found).unwrap_or_else(|| {
                let (first, last) = volume.head.epochs();
                panic!("{name} came back at instant {found}, which is not one from {first} to {last}")
            });
            assert_same(&format!("recovered {name}"), &*mounted, &state);
            volume.head = Head::at(state);
        }
        self.verify_snapshots();
    }

    fn verify_names(&self) {
        let mut listed = BTreeMap::new();
        for info in self.engine().list() {
            let mut names: Vec<Name> = info.snapshots.into_iter().map(|snapshot| snapshot.name).collect();
            names.sort();
            listed.insert(info.name, names);
        }
        let expected: BTreeMap<Name, Vec<Name>> = self
            .volumes
            .iter()
            .map(|(name, volume)| (name.clone(), volume.snapshots.keys().cloned().collect()))
            .collect();
        assert_eq!(listed, expected, "volumes and their snapshots");
    }

    fn verify_snapshots(&self) {
        for (name, volume) in &self.volumes {
            for (snapshot, state) in &volume.snapshots {
                let mounted = self.engine().mount(&snapshot_of(name, snapshot), true).expect("it is there");
                assert_same(&format!("{name}@{snapshot}"), &*mounted, state);
            }
        }
    }

    /// Compares everything with the running engine, and lets it check itself.
    pub(crate) fn verify(&mut self) {
        self.verify_names();
        self.verify_snapshots();
        let names: Vec<Name> = self.volumes.keys().cloned().collect();
        for name in names {
            let was_mounted = self.volume(&name).mounted.is_some();
            if !was_mounted {
                self.mount(&name).expect("an unmounted volume can be mounted");
            }
            let mounted = self.mounted(&name);
            assert_same(name.as_str(), &*mounted, self.volumes[&name].head.now());
            drop(mounted);
            if !was_mounted {
                self.unmount(&name);
            }
        }
        let report = self.engine().check(&mut |_, _| {}).expect("a check runs");
        assert_eq!(report.damage, Vec::<String>::new());
    }
}
