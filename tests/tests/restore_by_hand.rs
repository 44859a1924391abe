//! An operator restores into the volume of a pod with `restore sqlite`, and the pod starts: what he put there is kept and continued, as the
//! note beside it says (decision 0007); what the note does not vouch for is refused as before (P3).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

use e2e::{Place, Pod, Volume, pod};
use testkit::app;

const NONE: &[&str] = &[];
const REPLICA: &str = "web/sqlite/app.db";

/// A pod that has run for a while, a few times.
fn lived(place: &Place) -> Pod<'_> {
    let pod = Pod::new(place, "databases: [{path: app.db}]");
    for _ in 0..3 {
        pod.init(NONE).expect(0);
        pod.volume.write(12);
        stream(&pod);
    }
    pod
}

/// The sidecar, from its start to its drain.
fn stream(pod: &Pod<'_>) {
    let mut streamer = pod.streamer();
    pod::addr(&mut streamer);
    pod::stop(&mut streamer);
}

/// The last transaction of a restore.
fn newest(place: &Place, more: &[&str]) -> u64 {
    let scratch = Volume::new();
    place.restore(REPLICA, &scratch.db(), more).expect(0);
    app::verify(&scratch.db()).unwrap().last_seq
}

/// From the newest state and from an older one, on a volume that remembers its replica and on an empty one, with an application that was
/// started before the pod and without.
#[test]
fn p3_a_pod_goes_on_from_what_was_restored_by_hand() {
    for (older, forgets, used) in
        [(false, true, true), (false, false, true), (true, false, false), (true, false, true)]
    {
        let case = format!("older point: {older}, empty volume: {forgets}, used: {used}");
        let place = Place::s3();
        let pod = lived(&place);
        let points = place.txids(REPLICA);
        let last = points.last().unwrap().clone();
        if forgets {
            pod.lose_volume();
        }
        let mut more = vec!["--force"];
        if older {
            // The first claim holds nothing, the first image and what follows do.
            let old = points.iter().find(|txid| newest(&place, &["--txid", txid]) == 12).unwrap();
            more.extend(["--txid", old]);
        }
        place.restore(REPLICA, &pod.volume.db(), &more).expect(0);
        let found = pod.volume.last_seq();
        assert_eq!(found, if older { 12 } else { 36 }, "{case}");
        if used {
            pod.volume.write(5);
        }
        let expected = found + if used { 5 } else { 0 };

        // Twice, as when the node reboots before the sidecar came that far.
        for _ in 0..2 {
            pod.init(NONE).expect(0);
            let row = pod.database();
            assert_eq!((&row["outcome"], &row["claimed"]), (&"kept".into(), &true.into()), "{case}: {row}");
        }
        assert!(!pod.volume.file(".highwater/app.db/origin.json").exists(), "{case}: the note is used up");
        stream(&pod);
        assert_eq!(newest(&place, NONE), expected, "{case}");
        assert_eq!(newest(&place, &["--txid", &last]), 36, "{case}: what was left behind is not lost");
        pod.volume.write(3);
        pod.init(NONE).expect(0);
        stream(&pod);
        assert_eq!(newest(&place, NONE), expected + 3, "{case}: and so it goes on");
    }
}

#[test]
fn p3_a_note_that_does_not_hold_lets_no_pod_go_on() {
    let place = Place::s3();
    let pod = lived(&place);
    pod.lose_volume();
    place.restore(REPLICA, &pod.volume.db(), NONE).expect(0);
    pod.volume.write(5);

    // Another file under the name, of the same content.
    let copy = pod.volume.file("copy.db");
    std::fs::copy(pod.volume.db(), &copy).unwrap();
    let original = pod.volume.file("original.db");
    std::fs::rename(pod.volume.db(), &original).unwrap();
    std::fs::rename(&copy, pod.volume.db()).unwrap();
    let before = place.objects(REPLICA);
    pod.init(NONE).expect(3).says(&["app.db", "--adopt"]);
    assert_eq!(place.objects(REPLICA), before, "a refusal claims nothing");
    std::fs::rename(&original, pod.volume.db()).unwrap();

    // Another pod took the replica over meanwhile.
    let other = Pod::new(&place, "databases: [{path: app.db}]");
    other.init(NONE).expect(0);
    other.volume.write(4);
    stream(&other);
    let before = place.objects(REPLICA);
    pod.init(NONE).expect(3).says(&["app.db", "--adopt"]);
    assert_eq!(place.objects(REPLICA), before, "a refusal claims nothing");
    assert_eq!(newest(&place, NONE), 40);
}
