//! A file system that is really full: a small one in memory, mounted for the test.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::*;
use crate::eventually;

/// A file system of 4 MiB; unmounted when dropped.
struct Small(TempDir);

impl Small {
    /// None without the right to mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=4m", "store-test"]).arg(folder.path());
        let mounted = command.stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_file_system_is_said_loses_nothing_and_heals() {
    let Some(small) = Small::mount() else {
        eprintln!("not tried: needs the right to mount a file system");
        return;
    };
    let other = small.path().join("of somebody else");
    std::fs::write(&other, vec![1; 3 << 20]).unwrap();
    let folder = small.path().join("store");
    let store = open(&folder).store;
    let mut written = 0;
    while store.trouble().is_none() {
        let position = store.write(put(&format!("{written}"), &"x".repeat(5000)));
        written += 1;
        eventually("it is durable or refused", || async {
            store.durable() >= position || store.trouble().is_some()
        })
        .await;
    }
    let kept = store.durable().0;
    assert!(kept > 100 && kept < written, "{kept} of {written}");
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let there = open(copy.path()).entries.len() as u64;
    assert!(there >= kept && there <= written, "{there}, of which {kept} are promised");
    std::fs::remove_file(other).unwrap();
    durable(&store, Position(written)).await;
    eventually("it is over", || async { store.trouble().is_none() }).await;
    drop(store);
    assert_eq!(open(&folder).entries.len() as u64, written);
}
