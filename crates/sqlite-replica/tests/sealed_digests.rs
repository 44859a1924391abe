//! A sealed replica compared by a pod that can open nothing: what lies there is what was sent, or it is named and bridged (P1, trap 12).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

#[allow(dead_code, reason = "shared with the tests of upkeep")]
#[path = "upkeep/scene.rs"]
mod scene;

use scene::{Scene, scene_of};
use seal::{Identities, Protection, Recipients};
use sqlite_replica::{Healing, How, Policy, Report};
use std::sync::Arc;
use std::time::Duration;
use store::Operation;
use store::fault::{When, lost};

fn play(verify: u64, play: impl FnOnce(Scene) + Send + 'static) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&identity.to_public().to_string(), "test").unwrap();
    let identities = Identities::parse(identity.to_string().expose_secret(), "test").unwrap();
    let policy = Policy { verify: Some(Duration::from_secs(verify)), ..Policy::default() };
    scene_of(policy, Protection::Sealed(recipients), Some(Arc::new(identities)), play);
}

/// The oldest object of a level that has pages.
fn key_of(scene: &Scene, level: u8) -> String {
    let entries = scene.catalogue().entries;
    entries.into_iter().find(|e| e.level.0 == level && e.size != 131).unwrap().key
}

fn alarms(scene: &Scene) -> Vec<String> {
    let finding = |report| match report {
        Report::Verified { ok: false, finding, .. } => finding,
        _ => None,
    };
    scene.reports().into_iter().filter_map(finding).collect()
}

fn compared(scene: &Scene) -> usize {
    scene.reports_of(|r| matches!(r, Report::Verified { how: How::Bytes, ok: true, .. }))
}

#[test]
fn p1_a_flipped_byte_in_an_older_sealed_object_is_named_and_bridged() {
    for (level, commits, restarted) in [(9, 2, false), (0, 2, false), (1, 5, false), (1, 5, true)] {
        play(60, move |mut scene| {
            for _ in 0..commits {
                scene.commit();
                scene.pass_time(if level == 1 { 10 } else { 1 });
            }
            if restarted {
                scene = scene.restart();
            }
            let key = key_of(&scene, level);
            scene.damage(&key);
            // A few files are drawn each time.
            for round in 0.. {
                scene.commit();
                scene.pass_time(61);
                if alarms(&scene).iter().any(|finding| finding.contains(&key)) {
                    break;
                }
                assert!(round < 40, "level {level}: {:?}", scene.reports());
            }
            scene.until(|s| s.told(|r| matches!(r, Report::Healed { by: Healing::Bridged, .. })));
            scene.newest_is_what_the_application_has();
            let before = alarms(&scene).len();
            for _ in 0..5 {
                scene.commit();
                scene.pass_time(61);
            }
            assert_eq!(alarms(&scene).len(), before, "what is bridged is not read any more");
        });
    }
}

#[test]
fn p6_what_is_as_it_was_sent_raises_no_alarm() {
    play(60, |mut scene| {
        for round in 0..40 {
            for _ in 0..3 {
                scene.commit();
                scene.pass_time(7);
            }
            scene.pass_time(60);
            if round % 10 == 9 {
                scene = scene.restart();
            }
        }
        scene.writer.want_image();
        scene.commit();
        scene.pass_time(1);
        scene.pass_time(120);
        assert_eq!(alarms(&scene), [""; 0]);
        assert!(compared(&scene) > 20, "{}", compared(&scene));
    });
}

/// The reply of a merge is lost, and it is made again: sealed with other keys, and of another size than what lies there.
#[test]
fn p6_a_merge_that_meets_itself_is_no_damage() {
    play(600, |mut scene| {
        for _ in 0..3 {
            scene.commit();
            scene.pass_time(1);
        }
        scene.faults.lose_reply_next(Operation::Put, 1);
        scene.faults.fail_next(Some(Operation::Head), 2, When::Before, lost());
        scene.pass_time(40);
        scene.until(|s| s.told(|r| matches!(r, Report::Failed { what: "compact", .. })));
        for _ in 0..5 {
            scene.pass_time(300);
        }
        assert!(scene.told(|r| matches!(r, Report::Compacted { .. })));
        assert_eq!(alarms(&scene), [""; 0]);
        assert!(compared(&scene) > 0);
    });
}

#[test]
fn a_credential_that_may_not_read_is_asked_once_and_is_no_damage() {
    play(60, |mut scene| {
        scene.commit();
        scene.pass_time(1);
        scene.faults.deny(Operation::Get, true);
        scene.faults.take_log();
        for _ in 0..10 {
            scene.commit();
            scene.pass_time(61);
        }
        let reads = scene.faults.take_log().iter().filter(|call| call.operation == Operation::Get).count();
        assert_eq!(reads, 1);
        assert_eq!(alarms(&scene), [""; 0]);
    });
}

/// By hand: the lines are those of `sha256sum`, and right.
#[test]
fn p8_what_was_sent_is_written_down_as_sha256sum_reads_it() {
    use sha2::Digest;
    play(600, |mut scene| {
        for _ in 0..8 {
            scene.commit();
            scene.pass_time(10);
        }
        let text = std::fs::read_to_string(scene.dir().join(".highwater/app.db/digests")).unwrap();
        let lines: Vec<_> = text.lines().filter_map(|line| line.split_once("  ")).collect();
        assert!(text.starts_with("# ") && lines.len() >= 9, "{text}");
        for (digest, key) in lines {
            let bytes = scene.wait(scene.store.get_bytes(key, None)).unwrap();
            assert_eq!(digest, hex::encode(sha2::Sha256::digest(&bytes)), "{key}");
        }
        for level in [0, 1, 9] {
            assert!(text.contains(&key_of(&scene, level)), "level {level}: {text}");
        }
    });
}
