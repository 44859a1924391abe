//! The bugs: what a streamer gets wrong if it is built naively.

/// One bug.
pub(crate) struct Bug {
    /// For the command line and `docs/testing.md`.
    pub(crate) name: &'static str,
    /// What is wrong.
    pub(crate) what: &'static str,
    pub(crate) edits: &'static [Edit],
    /// A test of `sqlite-replica` (file, name) that must fail, where the simulator cannot see it: there a pod's start looks first.
    pub(crate) test: Option<(&'static str, &'static str)>,
}

/// A file, what is there once, what is put in its place.
type Edit = (&'static str, &'static str, &'static str);

const NEWEST_IS_NEEDED: Edit = (
    "crates/sqlite-replica/src/upkeep/retention/rules.rs",
    "if self.needed.contains(h) || h.name.max > self.proven {",
    "if h.level != Level::SNAPSHOT && (self.needed.contains(h) || h.name.max > self.proven) {",
);
const NEWEST_IS_KEPT: Edit = (
    "crates/sqlite-replica/src/upkeep/retention/rules.rs",
    "let keep = Some(h.name.max) >= self.floor || self.chosen.contains(&h.name.max);",
    "let keep = h.name.max > self.proven;",
);

pub(crate) const BUGS: &[Bug] = &[
    Bug {
        name: "skip-the-barrier",
        what: "the pin is let go although a commit came in after the copy, and nobody notices the restart",
        edits: &[
            (
                "crates/sqlite-tail/src/protocol.rs",
                "Some(at) if at.complete() && at.same_state(&copied) => {",
                "Some(at) if copied.mx_frame < u32::MAX => {",
            ),
            (
                "crates/sqlite-tail/src/tail/copy.rs",
                "if complete { Ok(()) }",
                "if complete || from.frame < u32::MAX { Ok(()) }",
            ),
        ],
        test: None,
    },
    Bug {
        name: "trust-size",
        what: "after a downtime a WAL that is as long as before is taken for the same",
        edits: &[(
            "crates/sqlite-tail/src/tail/resume.rs",
            "        if at.page_size != self.page_size {",
            "        let now = self.index()?;
        if at.frame > 0 && self.files.wal.metadata().is_ok_and(|m| m.len() >= at.wal_offset()) {
            self.position = Some(Position {
                salt1: now.salt1,
                salt2: now.salt2,
                frame: now.mx_frame,
                cksum1: now.checksum.s1,
                cksum2: now.checksum.s2,
                commit: now.db_pages,
                ..at
            });
            return Ok(Resume::Proven);
        }
        if at.page_size != self.page_size {",
        )],
        test: None,
    },
    Bug {
        name: "ignore-the-salts",
        what: "after a downtime whatever frame lies at our offset is the one that was copied last, of whichever WAL it is",
        edits: &[
            (
                "crates/sqlite-tail/src/tail/resume.rs",
                "        if index.salts() != at.salts() {
            return unproven(\"the wal was restarted\");
        }
        if at.salts() == (0, 0) {",
                "        let mut at = match at.frame {
            1.. => Position { salt1: index.salt1, salt2: index.salt2, ..at },
            0 => at,
        };
        if index.salts() != at.salts() {
            return unproven(\"the wal was restarted\");
        }
        if at.salts() == (0, 0) {",
            ),
            (
                "crates/sqlite-tail/src/tail/resume.rs",
                "let same = (frame.salt1, frame.salt2) == at.salts()
                && frame.checksum == Checksum { s1: at.cksum1, s2: at.cksum2 };",
                "let same = (frame.salt1, frame.salt2) == at.salts();
            Checksum { s1: at.cksum1, s2: at.cksum2 } = frame.checksum;",
            ),
        ],
        test: None,
    },
    Bug {
        name: "report-before-the-answer",
        what: "a file counts as stored when it was sent; the next one goes out before it",
        edits: &[(
            "crates/sqlite-replica/src/write/follow.rs",
            "            Err(_) => {}\n",
            "            Err(_) => return self.confirm(&flight, Duration::ZERO),\n",
        )],
        test: None,
    },
    Bug {
        name: "reuse-an-epoch",
        what: "a claim takes the epoch of the one before it",
        edits: &[(
            "crates/sqlite-replica/src/claim/look.rs",
            "of_volume.max(self.remote.stamp.map_or(0, |s| s.epoch)) + 1",
            "of_volume.max(self.remote.stamp.map_or(1, |s| s.epoch))",
        )],
        test: None,
    },
    Bug {
        name: "claim-in-the-sidecar",
        what: "a restarted sidecar claims again instead of inheriting",
        edits: &[(
            "crates/sqlite-replica/src/write/enter.rs",
            "let txid = match self.inherited {",
            "let txid = match self.inherited.filter(|i| i.epoch == u32::MAX) {",
        )],
        test: None,
    },
    Bug {
        name: "forget-an-fsync",
        what: "the WAL is not synced before its commits are reported durable",
        edits: &[(
            "crates/sqlite-replica/src/write/send.rs",
            "file.sync_data().map_err(Error::io(path, \"sync the WAL of\"))",
            "file.metadata().map(drop).map_err(Error::io(path, \"sync the WAL of\"))",
        )],
        test: None,
    },
    Bug {
        name: "drop-growth-pages",
        what: "pages that grew into being without a frame are left out",
        edits: &[("crates/sqlite-replica/src/write/stage.rs", "if *next != self.lock {", "if *next == 0 {")],
        test: None,
    },
    Bug {
        name: "upload-the-rollback",
        what: "after a loss of power the older database is sent as the newest state",
        edits: &[(
            "crates/sqlite-replica/src/write/resume.rs",
            "            && !self.config.adopt\n        {\n            // Before the claim",
            "            && self.config.adopt\n        {\n            // Before the claim",
        )],
        test: Some(("round_trip", "p3_a_volume_that_lost_commits_is_refused_until_told_otherwise")),
    },
    Bug {
        name: "conflict-is-success",
        what: "somebody else's object under our number counts as ours",
        edits: &[(
            "crates/sqlite-replica/src/write/follow.rs",
            "Ok(Err(e)) if e.class() == Class::Fenced => return Err(self.lose(e)),",
            "Ok(Err(e)) if e.class() == Class::Fenced => return self.confirm(&flight, Duration::ZERO),",
        )],
        test: None,
    },
    Bug {
        name: "forget-the-intent",
        what: "what was under way is taken for stored without being sent again",
        edits: &[(
            "crates/sqlite-replica/src/claim/settle.rs",
            "if resend {",
            "if resend && table.tail(0)?.is_empty() {",
        )],
        test: None,
    },
    Bug {
        name: "mark-of-a-claim",
        what: "an interrupted claim leaves a mark that the database does not have",
        edits: &[(
            "crates/sqlite-replica/src/claim/take.rs",
            "record.mark = ground.tabulated.then_some(mark);",
            "record.mark = Some(mark);",
        )],
        test: Some(("round_trip", "p2_a_claim_that_was_cut_off_before_its_image_leaves_no_mark")),
    },
    Bug {
        name: "ignore-a-shrink",
        what: "a page diff keeps the size that the database had, although it became smaller",
        edits: &[(
            "crates/sqlite-replica/src/write/resume.rs",
            "Sink::commit(&mut self.batch, commit)",
            "Sink::commit(&mut self.batch, commit.max(mark.commit))",
        )],
        test: None,
    },
    Bug {
        name: "prune-the-newest-image",
        what: "retention plans to remove the newest proven image, and is left to its guard",
        edits: &[NEWEST_IS_NEEDED, NEWEST_IS_KEPT],
        test: None,
    },
    Bug {
        name: "prune-past-the-guard",
        what: "retention removes the newest proven image, and its guard is asleep",
        edits: &[
            NEWEST_IS_NEEDED,
            NEWEST_IS_KEPT,
            (
                "crates/sqlite-replica/src/upkeep/retention.rs",
                "if after.chain(point) != holdings.chain(point) {",
                "if after.len() > holdings.len() && after.chain(point) != holdings.chain(point) {",
            ),
            (
                "crates/sqlite-replica/src/upkeep/retention.rs",
                "(Some(gap), before) if before != Some(gap) => {",
                "(Some(gap), before) if before > Some(gap) && holdings.is_empty() => {",
            ),
        ],
        test: None,
    },
    Bug {
        name: "merge-leaves-a-gap",
        what: "a level goes on one transaction behind the one that it must continue with",
        edits: &[(
            "crates/sqlite-replica/src/upkeep/compaction.rs",
            "Some(reached) => reached.next(),",
            "Some(reached) => reached.next().next(),",
        )],
        test: None,
    },
    Bug {
        name: "stale-page-table",
        what: "the page table does not follow what was sent",
        edits: &[(
            "crates/sqlite-replica/src/write/flight.rs",
            "        stage::carry(staged, &path, &mut self.table)?;\n",
            "        drop(staged);\n",
        )],
        test: None,
    },
    Bug {
        name: "work-goes-on",
        what: "what upkeep has under way is finished by a writer that lost its claim",
        edits: &[("crates/sqlite-replica/src/write/beside.rs", "        self.leash.0.abort();\n", "")],
        test: Some(("under_way", "p4_a_merge_that_has_begun_ends_with_the_claim")),
    },
    Bug {
        name: "forget-the-meanwhile",
        what: "a file that was stored while the replica was listed counts as lost",
        edits: &[(
            "crates/sqlite-replica/src/upkeep/outcome.rs",
            "            if !fresh.contains(&file) {",
            "            if fresh.contains(&file) {",
        )],
        test: None,
    },
    Bug {
        name: "size-of-the-repetition",
        what: "a sealed file that met itself counts with the size of the second sealing",
        edits: &[(
            "crates/sqlite-replica/src/upkeep/merge.rs",
            "if !sent?.anew && is_sealed {",
            "if !sent?.anew && !is_sealed {",
        )],
        test: Some(("sealed_digests", "p6_a_merge_that_meets_itself_is_no_damage")),
    },
    Bug {
        name: "believe-any-digest",
        what: "what the store gives back is read and not compared",
        edits: &[(
            "crates/sqlite-replica/src/upkeep/remote.rs",
            "if hex::encode(digest.finalize()) != expected {",
            "if hex::encode(digest.finalize()).is_empty() && !expected.is_empty() {",
        )],
        test: Some(("sealed_digests", "p1_a_flipped_byte_in_an_older_sealed_object_is_named_and_bridged")),
    },
];
