use super::*;
use std::fs;
use std::time::Duration;

/// Waits until it is told that something of this name is gone.
#[track_caller]
fn hears(news: &News, name: &Path) {
    for _ in 0..4_000 {
        if lock(&news.removed).iter().any(|removed| removed == name) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("nothing is told of {}", name.display());
}

fn look(hints: &mut Hints, dirs: &[&Path]) {
    dirs.iter().for_each(|dir| hints.announce(dir));
    hints.scanned(&[]);
}

/// Both names have one descriptor: what becomes of the old one must not end the watch of the new one.
#[test]
fn p1_a_renamed_directory_stays_watched_when_another_of_its_old_name_goes() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path().canonicalize().unwrap();
    let (old, new) = (root.join("old"), root.join("new"));
    fs::create_dir(&old).unwrap();
    let news = Arc::new(News::default());
    let mut hints = Hints::new(news.clone(), root.join("allow"));
    if !hints.works() {
        return println!("skipped: no inotify instance to be had");
    }
    // Without its parent, so that nothing but the directory itself tells of the new name.
    look(&mut hints, &[&old]);
    fs::rename(&old, &new).unwrap();
    hears(&news, &old);
    look(&mut hints, &[&root, &new]);
    fs::create_dir(&old).unwrap();
    fs::remove_dir(&old).unwrap();
    hears(&news, &old);
    look(&mut hints, &[&root, &new]);
    let file = new.join("file");
    fs::write(&file, "1").unwrap();
    fs::remove_file(&file).unwrap();
    hears(&news, &file);
}
