use super::*;
use crate::levels;
use crate::raft::ApplyHalt;

fn raise(level: u32) -> Kind {
    Kind::RaiseLevel(RaiseLevelCommand { level })
}

fn mark() -> Kind {
    Kind::Checksum(ChecksumCommand {})
}

impl Bench {
    fn level(&self) -> u32 {
        levels::of_shard(&self.db, SHARD).unwrap()
    }

    /// Applies a command as a process does that supports levels up to this one.
    fn apply_up_to(&mut self, highest: u32, kind: Kind) -> Result<(), ApplyHalt> {
        self.applier.levels = Levels::up_to(highest);
        let entry = self.entry(vec![(kind, 0)]);
        let progress = Progress::new(self.space, Vec::new());
        let applied = self.applier.apply(SHARD, vec![entry], progress);
        applied.map(drop)
    }
}

#[test]
fn the_level_rises_by_command_and_never_falls() {
    let mut bench = Bench::empty(SHARD);
    assert_eq!(bench.level(), 0);
    bench.done(Kind::DropAccount(DropAccountCommand { account: 1 }));
    assert_eq!(bench.level(), 1);
    assert_eq!(bench.refused(mark()), RefusalKind::FailedPrecondition);
    for level in [2, 1, 2] {
        bench.done(raise(level));
        assert_eq!(bench.level(), 2);
    }
    let marked = bench.apply(mark());
    let index = bench.index;
    assert_eq!(marked, Answer::Marked(ChecksumAnswer { index }));
}

#[test]
fn a_process_halts_at_what_is_beyond_it_and_does_not_start_there() {
    let mut bench = Bench::new();
    for kind in [raise(2), mark()] {
        let halt = bench.apply_up_to(1, kind).unwrap_err().to_string();
        assert!(halt.contains("knows levels up to 1 only"), "{halt}");
        assert_eq!(bench.level(), 1);
    }
    assert!(bench.apply_up_to(2, raise(3)).is_err());
    bench.applier.accepts(bench.space).unwrap();
    bench.apply_up_to(2, raise(2)).unwrap();
    bench.applier.accepts(bench.space).unwrap();
    bench.applier.levels = Levels::up_to(1);
    let refusal = bench.applier.accepts(bench.space).unwrap_err().to_string();
    assert!(refusal.contains("run a newer build"), "{refusal}");
    // Where nothing is, there is nothing that could not be understood.
    let empty = Space::new(SHARD, 9);
    bench.applier.accepts(empty).unwrap();
}

#[test]
fn what_is_awaited_or_marked_ends_a_call() {
    let mut bench = Bench::new();
    let plain = bench.entry(vec![(raise(2), 0)]);
    let marked = bench.entry(vec![(raise(2), 0), (mark(), 0)]);
    assert!(!bench.applier.is_last(SHARD, &plain));
    assert!(bench.applier.is_last(SHARD, &marked));
}
