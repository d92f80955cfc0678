//! The store on a disk: what is there after it was closed, and who may open it.

use super::*;

#[tokio::test]
async fn what_is_durable_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/when/missing");
    let opened = open(&path);
    assert_eq!((opened.entries.len(), opened.report.segments), (0, 0));
    let store = opened.store;
    let keys = [key("a"), key("b"), key("c")].into_iter().collect();
    let puts = vec![Entry { keys, value: Bytes::from_static(b"shared") }];
    store.write(Batch { deletes: Vec::new(), puts });
    store.write(put("b", "own"));
    let last = store.write(Batch { deletes: vec![key("c")], puts: Vec::new() });
    durable(&store, last).await;
    drop(store);
    let opened = open(&path);
    let expected = [("a", "shared"), ("b", "own")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(content(&opened.entries), expected);
    assert_eq!((opened.report.cut, opened.report.damages), (None, vec![]));
    assert_eq!(opened.store.durable(), Position(0), "positions are those of one process");
}

#[test]
fn dropping_it_writes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    for number in 0..2000 {
        store.write(put(&format!("{number}"), &"text".repeat(20)));
    }
    drop(store);
    assert_eq!(open(folder.path()).entries.len(), 2000);
}

#[test]
fn only_one_may_have_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let refused = try_open(folder.path());
    assert!(matches!(refused, Err(StoreError::Locked { .. })), "{refused:?}");
    first.store.close();
    open(folder.path());
}

#[test]
fn a_folder_that_is_a_file_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "text").unwrap();
    let refused = try_open(&path);
    let Err(StoreError::Io { path: said, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(said.ends_with("file"));
}

#[test]
fn a_damaged_file_is_set_aside_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    store.write(put("lost", &"x".repeat(1000)));
    store.write(put("kept", "text"));
    store.close();
    let path = folder.path().join("000000000001.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1024 + 500] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let opened = open(folder.path());
    assert_eq!(content(&opened.entries), [("kept".to_owned(), "text".to_owned())]);
    let damage = &opened.report.damages[0];
    assert_eq!(damage.file, path.display().to_string());
    assert_eq!(std::fs::read(&damage.set_aside).unwrap(), bytes);
}

#[tokio::test]
async fn its_files_stay_small_while_much_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    store.write(put("stays", &"stays".repeat(100)));
    for round in 0..300 {
        let mut batch = Batch::default();
        for number in 0..20 {
            batch.delete(key(&format!("{} {number}", round - 1)));
            batch.put(key(&format!("{round} {number}")), vec![b'x'; 1000].into());
        }
        let position = store.write(batch);
        durable(&store, position).await;
    }
    store.close();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 400 << 10, "{bytes} bytes of 6 MB that went through");
    assert_eq!(open(folder.path()).entries.len(), 21);
}
