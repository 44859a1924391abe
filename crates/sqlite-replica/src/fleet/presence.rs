//! Who is there: databases that were named or found, and what a look at the files of those without a writer shows.
//!
//! Nothing is opened here but the WAL (trap 7), and the first page of a database that was refused; what a look means is decided by
//! [`super::glance`] and [`super::overlap`].

use crate::error::{Class, Error};
use crate::fleet::board::State;
use crate::fleet::config::{Conflict, News};
use crate::fleet::glance::{Glance, Stamp};
use crate::fleet::hints::Heard;
use crate::fleet::member::{Member, Phase};
use crate::fleet::overlap::Taken;
use crate::fleet::search::FoundAll;
use crate::fleet::supervise::Fleet;
use crate::write::Event;
use sqlite_tail::Kind;
use std::collections::HashSet;
use std::path::PathBuf;

impl Fleet {
    /// Adds a database.
    pub(super) fn join(&mut self, member: Member, taken: &mut Taken) {
        let index = self.board.add(&member.database);
        taken.add(&member, index);
        self.members.push(member);
    }

    /// Adds what a search found. Two entries that mean the same database are refused at the start; later the one that has it keeps
    /// it. A database that was named is not found.
    pub(super) fn take_in(&mut self, found: FoundAll, first: bool) -> Result<(), Conflict> {
        for error in &found.troubles {
            tracing::warn!(%error, "not everything could be searched");
        }
        if found.new.is_empty() {
            return Ok(());
        }
        let mut taken = Taken::by(&self.members);
        for (search, name, path) in found.new {
            let place = self.searches.place(search);
            let Some(writer) = self.searches.writer(search, &name, &path) else {
                tracing::warn!(db = %path.display(), place, "no replica can be named for it");
                continue;
            };
            let member = Member::new(writer, place, false);
            match taken.check(&member) {
                Ok(()) => self.join(member, &mut taken),
                Err(overlap) if overlap.same_path && self.members[overlap.with].named => {}
                Err(overlap) => {
                    let conflict = overlap.conflict(&member, &self.members);
                    if first {
                        return Err(conflict);
                    }
                    tracing::error!(db = %path.display(), %conflict, "not followed");
                }
            }
        }
        Ok(())
    }

    /// Looks for new databases, and at those without a writer: those that hints name, and all when it is time.
    pub(super) async fn look(&mut self) {
        let now = self.clock.monotonic_ns();
        let due = now >= self.next_look;
        let Heard { directories, members, all } = self.hints.take();
        if due {
            self.next_look = now + self.limits.rescan.as_nanos() as u64;
        }
        if due || all {
            (0..self.members.len()).for_each(|index| self.glance(index));
        } else {
            let kept = |i: &usize| matches!(&self.members[*i].phase, Phase::Cold(rest) if rest.due <= now);
            let kept: Vec<usize> = (0..self.members.len()).filter(kept).collect();
            kept.into_iter().for_each(|index| self.glance(index));
            members.into_iter().for_each(|index| self.glance(index));
            if directories {
                let away = |m: &Member| matches!(m.phase, Phase::Away);
                let away: Vec<usize> = (0..self.members.len()).filter(|i| away(&self.members[*i])).collect();
                away.into_iter().for_each(|index| self.glance(index));
            }
        }
        if !self.once && self.searches.is_due(due, directories || all, now) {
            let found = self.searches.run(self.clock.unix_ms(), now).await;
            // While running, what conflicts is a refused member and no end of the others.
            self.take_in(found, false).expect("only a first search ends in a conflict");
        }
    }

    /// Looks at a database without a writer.
    pub(super) fn glance(&mut self, index: usize) {
        let (now, now_ms) = (self.clock.monotonic_ns(), self.clock.unix_ms());
        let member = &mut self.members[index];
        let again = match &mut member.phase {
            Phase::Cold(rest) if rest.due <= now => true,
            Phase::Cold(rest) => match rest.glance(now_ms) {
                Glance::Unchanged => return,
                Glance::Changed => true,
                Glance::Gone => false,
            },
            Phase::Away => !Stamp::is_missing(&member.database.path),
            // The application has converted it since, or was about to when it was looked at.
            Phase::Over {
                finish: Err(Error::Tail(sqlite_tail::Error::RollbackJournal { path })), ..
            } => match sqlite_tail::recognise(path) {
                Ok(Kind::Wal) => true,
                _ => return,
            },
            // A refusal holds for the file that was refused.
            Phase::Over { finish: Err(error), file: Some(file) } if error.class() == Class::Refused => {
                match Stamp::of(&member.database.path) {
                    Ok(Some(stamp)) if !stamp.same_file(file) => true,
                    _ => return,
                }
            }
            _ => return,
        };
        self.silence(index);
        if again { self.queue(index) } else { self.away(index) }
    }

    /// It may have a writer as soon as a slot is free.
    pub(super) fn queue(&mut self, index: usize) {
        self.members[index].phase = Phase::Due { at: 0, after: None };
        self.tell(index, State::Queued, None);
    }

    /// There is no file.
    pub(super) fn away(&mut self, index: usize) {
        let before = self.members[index].seen;
        self.members[index].phase = Phase::Away;
        let path = self.members[index].database.path.clone();
        self.hints.listen(&path, index);
        // What was written between the last look and the listening has no event any more: one more look, or it waits for the next search.
        if !Stamp::is_missing(&path) {
            self.silence(index);
            return self.queue(index);
        }
        let state = if before { State::Gone } else { State::Waiting };
        if self.board.set(index, state, None) {
            let database = &self.members[index].database;
            (self.listener)(database, News::State(state));
            if state == State::Waiting {
                (self.listener)(database, News::Writer(Event::Waiting));
            }
        }
    }

    /// Hints about its files are of no use any more.
    pub(super) fn silence(&mut self, index: usize) {
        let path = &self.members[index].database.path;
        self.hints.forget(path);
        let mut wal = path.clone().into_os_string();
        wal.push("-wal");
        self.hints.forget(&PathBuf::from(wal));
    }

    /// Directories whose changes are hints.
    pub(super) fn directories(&self) -> HashSet<PathBuf> {
        let mut all: HashSet<PathBuf> = self.searches.directories().cloned().collect();
        let idle = self.members.iter().filter(|m| matches!(m.phase, Phase::Cold(_) | Phase::Away));
        all.extend(idle.filter_map(|m| m.database.path.parent()).map(|dir| dir.to_owned()));
        all
    }
}
