//! Sealed replicas over a long life: levels, images, retention, healing and restarts with public keys only, restores with the identity.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

#[allow(dead_code, reason = "shared with the tests of upkeep")]
#[path = "upkeep/scene.rs"]
mod scene;

use futures::TryStreamExt;
use scene::{Rest, Scene, scene_of};
use seal::{Identities, Protection, Recipients};
use sqlite_replica::{
    By, Class, Config, Error, Healing, How, Integrity, Level, Policy, Progress, Proven, Report,
    RestoreOptions, RestorePlan, Verification, VerifyOptions, restore, verify,
};
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use store::Operation;

/// A key pair of this run: the identity, and its recipient.
fn pair() -> (String, String) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    (identity.to_string().expose_secret().to_owned(), identity.to_public().to_string())
}

static OURS: LazyLock<(String, String)> = LazyLock::new(pair);
static OTHER: LazyLock<(String, String)> = LazyLock::new(pair);

/// Stands in every row; must stand in no object.
const CANARY: &str = "the canary sings in plain text";

fn protection() -> Protection {
    Protection::Sealed(Recipients::parse(&OURS.1, "test").unwrap())
}

fn identities(secret: &str) -> Option<Arc<Identities>> {
    Some(Arc::new(Identities::parse(secret, "test").unwrap()))
}

fn sealed(policy: Policy, play: impl FnOnce(Scene) + Send + 'static) {
    scene_of(policy, protection(), identities(&OURS.0), play);
}

fn daily() -> Policy {
    Policy { verify: None, ..Policy::default() }
}

/// A transaction whose text would be found, were it stored in plain text: incompressible around it, so that LZ4 leaves it whole.
fn sing(scene: &mut Scene) {
    scene.app.execute("INSERT INTO t(x) VALUES(?1 || randomblob(150))", [CANARY]).unwrap();
}

fn objects(scene: &Rest) -> Vec<(String, Vec<u8>)> {
    scene.wait(async {
        let listed: Vec<_> = scene.store.list("", None).try_collect().await.unwrap();
        let mut all = Vec::new();
        for object in listed {
            let bytes = scene.store.get_bytes(&object.key, None).await.unwrap();
            all.push((object.key, bytes.to_vec()));
        }
        all
    })
}

#[track_caller]
fn no_object_tells(scene: &Scene) {
    let all = objects(scene);
    assert!(all.len() > 3);
    for (key, bytes) in all {
        let told = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!told, "{key} tells what is in the database");
        // What is not sealed has no pages.
        let clear = bytes.len() == 131 || key.starts_with("highwater/");
        assert!(clear || bytes.starts_with(b"age-encryption.org/v1\n"), "{key} is not sealed");
    }
}

/// What somebody with the identity does from outside, now and then.
fn prove_from_outside(scene: &Scene) -> Verification {
    let restore = RestoreOptions { identities: identities(&OURS.0), ..RestoreOptions::default() };
    let options = VerifyOptions { all: true, full: false, scratch: scene.dir().to_owned(), restore };
    let found = scene.wait(verify(&scene.store, &options, &Arc::new(Progress::default()))).unwrap();
    let through = found.provable.as_ref().unwrap().parse().unwrap();
    scene.wait(Proven::new(through, 1_700_000_000_000, By::Verify, found.how).save(&scene.store)).unwrap();
    found
}

#[test]
fn p1_p3_a_long_life_with_public_keys_only() {
    sealed(daily(), |mut scene| {
        sing(&mut scene);
        scene.pass_time(1);
        scene.newest_is_what_the_application_has();
        for _ in 0..60 {
            sing(&mut scene);
            scene.pass_time(10);
        }
        let levels = scene.levels();
        assert!(levels[1] > 0 && levels[9] > 0, "{levels:?}");
        scene.newest_is_what_the_application_has();
        no_object_tells(&scene);
        // Nothing was opened, so nothing was proven, and nothing was deleted.
        assert!(!scene.told(|r| matches!(r, Report::RestorePoint { proven: true, .. })));
        assert!(!scene.told(|r| matches!(r, Report::Pruned { .. })));

        // Somebody proves it from outside; a start sees that, and retention goes up to there.
        let found = prove_from_outside(&scene);
        assert!(found.ok && found.proven, "{found:?}");
        let before = scene.levels();
        scene = scene.restart();
        for _ in 0..60 {
            sing(&mut scene);
            scene.pass_time(10);
        }
        scene.settle();
        assert!(scene.told(|r| matches!(r, Report::Pruned { deleted, .. } if *deleted > 0)));
        assert!(scene.levels()[0] < before[0] + 60, "{:?}", scene.levels());
        scene.newest_is_what_the_application_has();
        // The claims of both starts are there still: they fence.
        let claims =
            scene.catalogue().entries.iter().filter(|e| e.level == Level::SYNC && e.size == 131).count();
        assert!(claims >= 2, "{claims}");

        // An image in the middle of life.
        let images = scene.images().len();
        scene.writer.want_image();
        sing(&mut scene);
        scene.pass_time(1);
        scene.until(|s| s.images().len() > images);
        scene.newest_is_what_the_application_has();
        no_object_tells(&scene);
        assert!(prove_from_outside(&scene).ok);
    });
}

#[test]
fn p1_a_lost_object_is_sealed_anew_from_the_volume() {
    sealed(Policy { verify: Some(Duration::from_secs(60)), ..Policy::default() }, |mut scene| {
        for _ in 0..3 {
            sing(&mut scene);
            scene.pass_time(1);
        }
        let newest = scene.newest().unwrap();
        let key = format!("0000/{newest}-{newest}.ltx");
        scene.wait(scene.store.delete_all(std::slice::from_ref(&key))).unwrap();
        for _ in 0..4 {
            scene.pass_time(60);
        }
        assert!(
            scene.told(|r| matches!(r, Report::Healed { by: Healing::Resent, .. })),
            "{:?}",
            scene.reports()
        );
        scene.newest_is_what_the_application_has();
        no_object_tells(&scene);
        // It can still be merged: the spool knows it by its new size.
        for _ in 0..6 {
            sing(&mut scene);
            scene.pass_time(30);
        }
        scene.settle();
        assert!(scene.levels()[1] + scene.levels()[2] > 0, "{:?}", scene.levels());
        scene.newest_is_what_the_application_has();
    });
}

/// A crash between the intent and the answer: the same sealed bytes are sent again, though age would draw another key.
#[test]
fn p4_a_restart_meets_its_own_sealed_object() {
    sealed(daily(), |mut scene| {
        sing(&mut scene);
        scene.pass_time(1);
        for _ in 0..3 {
            sing(&mut scene);
            scene.pass_time(1);
            scene = scene.restart();
            scene.newest_is_what_the_application_has();
        }
        // The record is there, so nothing but claims came of the restarts.
        assert_eq!(scene.images().len(), 1);
    });
}

/// A crash between the intent and the answer: the bytes that were staged are in the store afterwards, whether the first request had
/// reached it or not, though age would seal them with another key every time.
#[test]
fn p1_p4_a_crash_on_the_way_ends_with_the_staged_bytes() {
    for reached in [false, true] {
        sealed(daily(), move |mut scene| {
            sing(&mut scene);
            scene.pass_time(1);
            let before = scene.newest().unwrap();
            match reached {
                true => scene.faults.lose_reply_next(Operation::Put, u64::MAX),
                false => scene.faults.offline(true),
            }
            sing(&mut scene);
            let staged = scene.dir().join(".highwater/app.db/staged.object");
            let old = fs::read(&staged).unwrap();
            scene.clock.advance_ms(1_000);
            for turn in 0.. {
                scene.writer.pass().unwrap();
                if fs::read(&staged).unwrap() != old {
                    break;
                }
                scene.writer.wait(Duration::from_millis(20));
                assert!(turn < 1_000, "nothing is staged");
            }
            // Long enough for the request to have had its effect.
            for _ in 0..20 {
                scene.writer.pass().unwrap();
                scene.writer.wait(Duration::from_millis(5));
            }
            let sent = fs::read(&staged).unwrap();
            let stopped = scene.crash();
            stopped.faults.clear();
            let writer = stopped.try_start(|_, _| ()).unwrap();
            let mut scene = stopped.go_on(writer);
            let next = before.next();
            let key = format!("0000/{next}-{next}.ltx");
            let stored = scene.wait(scene.store.get_bytes(&key, None)).unwrap();
            assert!(stored == sent, "reached: {reached}");
            sing(&mut scene);
            scene.pass_time(1);
            scene.newest_is_what_the_application_has();
            assert_eq!(scene.images().len(), 1, "no image was needed");
            no_object_tells(&scene);
        });
    }
}

#[test]
fn a_replica_is_never_continued_in_the_other_form() {
    sealed(daily(), |mut scene| {
        sing(&mut scene);
        scene.pass_time(1);
        never_as(scene, Protection::Plain, "written sealed");
    });
    scene::scene(daily(), |mut scene| {
        scene.commit();
        scene.pass_time(1);
        never_as(scene, protection(), "in plain text");
    });
}

fn never_as(scene: Scene, other: Protection, says: &str) {
    let stopped = scene.stop();
    let before = objects(&stopped);
    for adopt in [false, true] {
        let refused = stopped.try_start(|_, config| {
            config.protection = other.clone();
            config.adopt = adopt;
        });
        let refused = refused.err().unwrap();
        assert_eq!(refused.class(), Class::Refused);
        assert!(refused.to_string().contains(says), "{refused}");
    }
    assert!(objects(&stopped) == before, "nothing was written");
}

#[test]
fn a_wrong_or_missing_identity_is_one_line_and_not_damage() {
    sealed(daily(), |mut scene| {
        sing(&mut scene);
        scene.pass_time(1);
        let plan = RestorePlan::new(&scene.catalogue(), None).unwrap();
        let out = scene.dir().join("out.db");
        for identities in [None, identities(&OTHER.0)] {
            let options =
                RestoreOptions { integrity: Integrity::None, identities, ..RestoreOptions::default() };
            let error = scene.wait(restore(&scene.store, &plan, &out, &options, Arc::default())).unwrap_err();
            assert_eq!(error.class(), Class::Refused, "{error}");
            assert!(!error.to_string().contains('\n') && !out.exists());
        }
    });
}

#[test]
fn verification_without_the_identity_never_claims_more_than_it_saw() {
    sealed(daily(), |mut scene| {
        for _ in 0..4 {
            sing(&mut scene);
            scene.pass_time(1);
        }
        let look = |scene: &Scene, full| {
            let options = VerifyOptions {
                all: true,
                full,
                scratch: scene.dir().to_owned(),
                restore: RestoreOptions::default(),
            };
            scene.wait(verify(&scene.store, &options, &Arc::new(Progress::default())))
        };
        let found = look(&scene, false).unwrap();
        assert!(found.ok && !found.proven && found.how == How::Sealed, "{found:?}");
        assert_eq!(found.provable, None);
        assert!(matches!(look(&scene, true), Err(Error::Refused { .. })), "a restore needs the identity");

        // One object under the name of another: without a key that shows as well.
        let sealed: Vec<_> =
            scene.catalogue().entries.into_iter().filter(|e| e.level.0 == 0 && e.size > 131).collect();
        let bytes = scene.wait(scene.store.get_bytes(&sealed[0].key, None)).unwrap();
        let options = store::PutOptions::overwrite();
        scene.wait(scene.store.put(&sealed[1].key, bytes, &options)).unwrap();
        let found = look(&scene, false).unwrap();
        assert!(!found.ok && found.findings[0].key == sealed[1].key, "{found:?}");
    });
}

#[test]
fn a_volume_without_its_record_is_refused_and_adopted_by_an_image() {
    sealed(daily(), |mut scene| {
        sing(&mut scene);
        scene.pass_time(1);
        let stopped = scene.stop();
        let forget = |dir: &Path, _: &mut Config| fs::remove_dir_all(dir.join(".highwater")).unwrap();
        assert_eq!(stopped.try_start(forget).err().unwrap().class(), Class::Refused);
        let writer = stopped.try_start(|_, config| config.adopt = true).unwrap();
        let mut scene = stopped.go_on(writer);
        sing(&mut scene);
        scene.pass_time(1);
        scene.newest_is_what_the_application_has();
        no_object_tells(&scene);
    });
}
