//! Drills and proofs.

use crate::scene::Scene;
use clock::{SeededIds, SystemClock};
use serde_json::Value;
use sqlite_replica::{Catalogue, DRILL_KEY, DrillOptions, Goal, Progress, Proven, RestoreOptions, drill};
use std::path::Path;
use std::sync::Arc;
use store::PutOptions;

async fn rehearse(
    scene: &Scene,
    probe: &(dyn Fn(&Path) -> Result<(), String> + Send + Sync),
) -> sqlite_replica::Drill {
    let options = DrillOptions {
        scratch: scene.path().to_owned(),
        restore: RestoreOptions::default(),
        probe,
        record: true,
    };
    drill(&scene.store, &options, &SystemClock, &SeededIds::new(5), &Arc::new(Progress::default()))
        .await
        .unwrap()
}

async fn document(scene: &Scene) -> Value {
    serde_json::from_slice(&scene.store.get_bytes(DRILL_KEY, None).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_drill_restores_two_points_and_records_its_result() {
    let scene = Scene::new();
    scene.history(4).await;
    let done = rehearse(&scene, &|_| Ok(())).await;
    assert!(done.ok && done.points.len() == 2, "{done:?}");
    assert!(done.points.iter().all(|p| p.restored.proven));
    let text = document(&scene).await;
    assert_eq!(
        (&text["kind"], &text["app"], &text["drill"]["result"]),
        (&"sqlite".into(), &"test".into(), &"ok".into())
    );
    let newest = Catalogue::load(&scene.store).await.unwrap().newest();
    assert_eq!(Proven::load(&scene.store).await.unwrap().unwrap().txid(), newest);
    let left =
        std::fs::read_dir(scene.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(left, 1, "only .highwater is left");
}

#[tokio::test]
async fn a_failed_drill_is_recorded_and_proves_nothing() {
    let scene = Scene::new();
    scene.history(2).await;
    let done = rehearse(&scene, &|_| Err("no accounts".into())).await;
    assert_eq!(done.failure.as_deref(), Some("probe: no accounts"));
    assert_eq!(document(&scene).await["drill"]["result"], "failed");
    assert!(Proven::load(&scene.store).await.unwrap().is_none());
    let key = "0000/0000000000000003-0000000000000003.ltx";
    scene.store.put(key, vec![1, 2, 3].into(), &PutOptions::overwrite()).await.unwrap();
    let done = rehearse(&scene, &|_| Ok(())).await;
    assert!(done.failure.unwrap().contains(key));
    assert!(scene.restore(Goal::Newest, true).await.is_ok());
}

/// Litestream takes the path of a URL as it is written: `s3://bucket/` gives keys with a leading slash, `s3://bucket` with a dot.
#[tokio::test]
async fn litestreams_odd_keys_are_read() {
    for root in ["/", "./"] {
        let scene = Scene::new();
        scene.history(2).await;
        let odd = scene.store.below_odd_root(root);
        for object in scene.store.list_all("").await.unwrap() {
            let bytes = scene.store.get_bytes(&object.key, None).await.unwrap();
            if object.key.starts_with("000") {
                odd.put(&object.key, bytes, &PutOptions::overwrite()).await.unwrap();
            }
            scene.store.delete_all(&[object.key]).await.unwrap();
        }
        let (below, catalogue) = Catalogue::open(&scene.store).await.unwrap();
        assert_eq!(catalogue.entries.len(), 4, "{root}");
        let mut recovery = sqlite_replica::Recovery::new(&below, catalogue, false);
        let out = scene.path().join("out.db");
        let progress = Arc::new(Progress::default());
        recovery.restore(Goal::Newest, &out, &RestoreOptions::default(), &progress).await.unwrap();
        assert_eq!(crate::scene::rows(&out), 40);
    }
}
