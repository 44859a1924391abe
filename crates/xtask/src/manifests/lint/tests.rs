use super::*;
use crate::manifests::yaml;

const GOOD: &str = include_str!("../../../../../examples/rendered/argo-kustomize.yaml");

fn good() -> Vec<Value> {
    yaml::documents(GOOD).unwrap()
}

/// The findings after one change to the Deployment of the good example.
fn after(change: impl Fn(&mut Value)) -> Vec<String> {
    let mut objects = good();
    let deployment = objects.iter_mut().find(|o| o["kind"] == "Deployment").unwrap();
    change(deployment);
    documents(&objects)
}

fn spec(deployment: &mut Value) -> &mut Value {
    &mut deployment["spec"]["template"]["spec"]
}

fn init<'a>(deployment: &'a mut Value, name: &str) -> &'a mut Value {
    let inits = spec(deployment)["initContainers"].as_array_mut().unwrap();
    inits.iter_mut().find(|c| c["name"] == name).unwrap()
}

#[test]
fn the_example_has_no_findings() {
    assert_eq!(documents(&good()), Vec::<String>::new());
}

/// Each change breaks one rule, and the finding says which.
#[test]
fn every_planted_fault_is_found() {
    type Change = Box<dyn Fn(&mut Value)>;
    let rows: Vec<(&str, Change)> = vec![
        (
            "container wal-streamr has no image",
            Box::new(|d| {
                spec(d)["initContainers"]
                    .as_array_mut()
                    .unwrap()
                    .push(serde_json::json!({"name": "wal-streamr", "resources": {}}));
            }),
        ),
        (
            "must start restore-state, config-syncer, wal-streamer",
            Box::new(|d| {
                spec(d)["initContainers"].as_array_mut().unwrap().swap(0, 2);
            }),
        ),
        (
            "starts its own init containers before the restore",
            Box::new(|d| {
                spec(d)["initContainers"].as_array_mut().unwrap().rotate_right(1);
            }),
        ),
        (
            "has a sidecar and no restore-state",
            Box::new(|d| {
                spec(d)["initContainers"].as_array_mut().unwrap().remove(0);
            }),
        ),
        (
            "is not a sidecar (restartPolicy: Always)",
            Box::new(|d| {
                init(d, "wal-streamer").as_object_mut().unwrap().remove("restartPolicy");
            }),
        ),
        (
            "mounts nothing-here, which the pod does not have",
            Box::new(|d| {
                init(d, "wal-streamer")["volumeMounts"][0]["name"] = "nothing-here".into();
            }),
        ),
        (
            "include one credentials-* component",
            Box::new(|d| {
                spec(d)["volumes"].as_array_mut().unwrap().retain(|v| v["name"] != "highwater-credentials");
            }),
        ),
        (
            "has 2 sources",
            Box::new(|d| {
                let volumes = spec(d)["volumes"].as_array_mut().unwrap();
                let volume = volumes.iter_mut().find(|v| v["name"] == "highwater-credentials").unwrap();
                volume["csi"] = serde_json::json!({"driver": "x"});
            }),
        ),
        (
            "mounts the data read-only",
            Box::new(|d| {
                init(d, "config-syncer")["volumeMounts"][0]["readOnly"] = true.into();
            }),
        ),
        (
            "volume data is claimed read-only",
            Box::new(|d| {
                let volumes = spec(d)["volumes"].as_array_mut().unwrap();
                let volume = volumes.iter_mut().find(|v| v["name"] == "data").unwrap();
                volume["persistentVolumeClaim"]["readOnly"] = true.into();
            }),
        ),
        (
            "wal-streamer runs as uid 65532, and vaultwarden keeps its data as uid 911",
            Box::new(|d| {
                spec(d)["securityContext"].as_object_mut().unwrap().remove("runAsUser");
                spec(d)["containers"][0]["securityContext"]["runAsUser"] = 911.into();
            }),
        ),
        (
            "stands without a bucket",
            Box::new(|d| {
                let annotations = d["spec"]["template"]["metadata"]["annotations"].as_object_mut().unwrap();
                annotations.remove("highwater.dev/bucket");
            }),
        ),
        (
            "not pinned",
            Box::new(|d| {
                init(d, "restore-state")["image"] = "registry.example:5000/highwater/restore".into()
            }),
        ),
        ("2 replicas would write", Box::new(|d| d["spec"]["replicas"] = 2.into())),
        ("two pods at a time", Box::new(|d| d["spec"]["strategy"]["type"] = "RollingUpdate".into())),
        (
            "rollingUpdate beside Recreate",
            Box::new(|d| d["spec"]["strategy"]["rollingUpdate"] = serde_json::json!({"maxSurge": 1})),
        ),
        (
            "30 s to stop",
            Box::new(|d| drop(spec(d).as_object_mut().unwrap().remove("terminationGracePeriodSeconds"))),
        ),
        (
            "highwater.dev/profil is not a known key (did you mean highwater.dev/profile?)",
            Box::new(|d| {
                d["spec"]["template"]["metadata"]["annotations"]["highwater.dev/profil"] = "critical".into();
            }),
        ),
        (
            "nothing is protected",
            Box::new(|d| {
                let annotations = d["spec"]["template"]["metadata"]["annotations"].as_object_mut().unwrap();
                annotations.retain(|key, _| !key.ends_with("/sqlite") && !key.ends_with("/files"));
            }),
        ),
        (
            "declares files and has no config-syncer",
            Box::new(|d| {
                spec(d)["initContainers"].as_array_mut().unwrap().retain(|c| c["name"] != "config-syncer");
            }),
        ),
        (
            "declares databases and has no wal-streamer",
            Box::new(|d| {
                spec(d)["initContainers"].as_array_mut().unwrap().retain(|c| c["name"] != "wal-streamer");
            }),
        ),
        (
            "has an http endpoint",
            Box::new(|d| {
                let annotations = d["spec"]["template"]["metadata"]["annotations"].as_object_mut().unwrap();
                annotations.insert("highwater.dev/allow-http".into(), "false".into());
            }),
        ),
        (
            "the component's selector did not match",
            Box::new(|d| drop(spec(d).as_object_mut().unwrap().remove("initContainers"))),
        ),
        (
            "may escalate privileges",
            Box::new(|d| {
                init(d, "wal-streamer")["securityContext"]["allowPrivilegeEscalation"] = true.into()
            }),
        ),
        (
            "writable root file system",
            Box::new(|d| init(d, "wal-streamer")["securityContext"]["readOnlyRootFilesystem"] = false.into()),
        ),
        (
            "does not drop all capabilities",
            Box::new(|d| init(d, "wal-streamer")["securityContext"]["capabilities"] = Value::Null),
        ),
        ("uses a namespace of the node", Box::new(|d| spec(d)["hostNetwork"] = true.into())),
        (
            "together exceed 20m CPU and 128Mi",
            Box::new(|d| {
                let resources = &mut init(d, "wal-streamer")["resources"];
                resources["limits"]["memory"] = "128Mi".into();
                resources["requests"]["memory"] = "128Mi".into();
            }),
        ),
        (
            "memory request and limit of restore-state differ",
            Box::new(|d| init(d, "restore-state")["resources"]["limits"]["memory"] = "1Gi".into()),
        ),
        ("has no requests and limits", Box::new(|d| init(d, "wal-streamer")["resources"] = Value::Null)),
        (
            "startupProbe of app has no handler",
            Box::new(|d| {
                spec(d)["containers"][0]["name"] = "app".into();
                spec(d)["containers"][0]["startupProbe"] = serde_json::json!({"failureThreshold": 18});
            }),
        ),
        (
            "asks port nowhere",
            Box::new(|d| {
                spec(d)["containers"][0]["livenessProbe"] =
                    serde_json::json!({"httpGet": {"port": "nowhere"}})
            }),
        ),
        (
            "is taken by another container",
            Box::new(|d| spec(d)["containers"][0]["ports"][0]["containerPort"] = 9090.into()),
        ),
        (
            "two containers are named wal-streamer",
            Box::new(|d| spec(d)["containers"][0]["name"] = "wal-streamer".into()),
        ),
    ];
    for (words, change) in rows {
        let found = after(change);
        assert!(found.iter().any(|finding| finding.contains(words)), "{words:?} was not found: {found:?}");
    }
}

#[test]
fn a_secret_in_the_repository_is_found() {
    let secret = serde_json::json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}});
    assert_eq!(documents(&[secret]).len(), 1);
}

#[test]
fn several_replicas_need_a_prefix_of_their_own() {
    let set = |prefix: &str| {
        let mut objects = good();
        let workload = objects.iter_mut().find(|o| o["kind"] == "Deployment").unwrap();
        workload["kind"] = "StatefulSet".into();
        workload["spec"]["replicas"] = 2.into();
        workload["spec"]["template"]["metadata"]["annotations"]["highwater.dev/prefix"] = prefix.into();
        documents(&objects).iter().filter(|f| f.contains("replicas")).count()
    };
    assert_eq!((set("dns"), set("dns/$(POD_NAME)")), (1, 0));
}
