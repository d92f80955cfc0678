//! Files that are not as they were written.

use super::{
    super::{
        log::{file_name, file_number},
        record::{HEADER_BYTES, Header, VERSION},
    },
    *,
};
use crate::store::StoreError;

/// A log of so many batches in segments, one group each, and what is there after each.
fn filled(batches: u64) -> (Disk, Vec<Model>) {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let mut models = vec![Model::new()];
    for number in 0..batches {
        let mut model = models[models.len() - 1].clone();
        let mut batch = put(number, "some text", 60 + 7 * usize::try_from(number % 9).unwrap());
        if number % 5 == 4 {
            batch.delete(key(number - 2));
        }
        apply(&mut model, &batch);
        write(&mut log, [batch]);
        models.push(model);
    }
    (disk, models)
}

fn segments(disk: &Disk) -> Vec<String> {
    use super::super::files::Folder;
    let names = disk.names().unwrap().into_iter();
    names.filter(|name| file_number(name).is_some()).collect()
}

/// Where each record of a segment starts, and where the last ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![HEADER_BYTES];
    while let Some(record) =
        super::super::record::Record::read(bytes, starts[starts.len() - 1], SALT, |_| true)
    {
        starts.push(record.end());
    }
    starts
}

#[test]
fn a_tail_cut_at_any_byte_costs_no_more_than_the_record_it_cuts() {
    let (disk, models) = filled(12);
    let name = &segments(&disk)[0];
    let bytes = disk.read(name);
    let starts = boundaries(&bytes);
    assert_eq!((segments(&disk).len(), starts.len()), (1, 13));
    for cut in HEADER_BYTES..=starts[12] {
        let copy = Disk::default();
        copy.put(name, bytes[..cut].to_vec());
        let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
        let Recovered { entries, report, .. } = open(&copy);
        assert_eq!(content(&entries), models[whole], "cut at {cut}");
        assert_eq!(report.damages, [], "cut at {cut}");
    }
}

#[test]
fn a_bit_that_flips_in_the_last_record_costs_that_record_only() {
    let (disk, models) = filled(12);
    let name = &segments(&disk)[0];
    let bytes = disk.read(name);
    let starts = boundaries(&bytes);
    for at in starts[11]..starts[12] {
        let copy = Disk::default();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        copy.put(name, flipped);
        let Recovered { entries, report, .. } = open(&copy);
        let found = content(&entries);
        // Padding belongs to no record.
        assert!(found == models[11] || found == models[12], "flipped at {at}");
        assert_eq!(report.damages, [], "nobody can say that it was ever synced");
    }
}

#[test]
fn damage_before_the_last_group_is_set_aside_and_all_else_is_kept() {
    let (disk, models) = filled(60);
    let names = segments(&disk);
    assert!(names.len() > 2);
    for name in &names {
        let bytes = disk.read(name);
        let starts = boundaries(&bytes);
        let is_last = Some(name) == names.last();
        for at in starts[..starts.len() - 1 - usize::from(is_last)].iter().map(|start| start + 30) {
            let copy = disk.copy();
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            copy.put(name, flipped.clone());
            let Recovered { entries, report, .. } = open(&copy);
            let (found, expected) = (content(&entries), models.last().unwrap());
            assert!(found.len() >= expected.len() - 1, "one record is lost at most");
            assert_eq!(report.damages.len(), 1, "{name} at {at}");
            let damage = &report.damages[0];
            assert_eq!(copy.read(&damage.set_aside), flipped);
            assert!((at as u64).abs_diff(damage.offset) < 40);
            let again = open(&copy);
            assert_eq!(again.report.damages, [], "it is said once");
            assert_eq!(content(&again.entries), found, "what was kept stays");
        }
    }
}

#[test]
fn a_file_without_its_end_is_damaged_unless_it_is_the_last() {
    let (disk, _) = filled(60);
    let name = &segments(&disk)[0];
    let bytes = disk.read(name);
    let starts = boundaries(&bytes);
    let last = starts[starts.len() - 2];
    for cut in [last, last + 1, last + 30] {
        let copy = disk.copy();
        copy.put(name, bytes[..cut].to_vec());
        assert_eq!(open(&copy).report.damages.len(), 1, "cut at {cut}");
        assert_eq!(open(&copy).report.damages, []);
    }
}

#[test]
fn one_copy_of_the_header_is_enough() {
    let (disk, models) = filled(60);
    for at in [0, 9, 13, 20, 30, 33, 512, 530] {
        let copy = disk.copy();
        let name = &segments(&disk)[1];
        let mut bytes = disk.read(name);
        bytes[at] ^= 0x40;
        copy.put(name, bytes);
        let Recovered { entries, report, .. } = open(&copy);
        assert_eq!(content(&entries), models[60]);
        assert_eq!(report.damages.len(), 1);
        assert_eq!(open(&copy).report.damages, []);
    }
}

#[test]
fn a_file_without_a_header_is_set_aside_and_the_others_are_read() {
    let (disk, models) = filled(60);
    let names = segments(&disk);
    for name in &names {
        let copy = disk.copy();
        let mut bytes = disk.read(name);
        bytes[..HEADER_BYTES].fill(0xff);
        copy.put(name, bytes.clone());
        let Recovered { entries, report, mut log } = open(&copy);
        assert!(!report.damages.is_empty());
        assert_eq!(copy.read(&format!("{name}.damaged")), bytes);
        let found = content(&entries);
        assert!(found.len() > models[60].len() / 3);
        write(&mut log, [put(500, "goes on", 10)]);
        let again = open(&copy);
        assert_eq!(again.report.damages, []);
        assert_eq!(content(&again.entries).len(), found.len() + 1);
    }
}

#[test]
fn a_newer_version_is_refused_and_nothing_is_touched() {
    let (disk, _) = filled(60);
    let name = file_name(2);
    let mut bytes = disk.read(&name);
    for copy in [0, 512] {
        bytes[copy + 8..copy + 12].copy_from_slice(&(VERSION + 1).to_le_bytes());
    }
    disk.put(&name, bytes);
    let before = disk.operations();
    let refused = recover(Box::new(disk.clone()), LIMITS, SALT);
    let Err(StoreError::Version { path, found, known }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((path, found, known), (name, VERSION + 1, VERSION));
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_value_that_looks_like_a_record_is_none() {
    let (disk, _) = filled(12);
    let bytes = disk.read(&file_name(1));
    let copy = Disk::default();
    let mut log = recover(Box::new(copy.clone()), LIMITS, SALT + 1).unwrap().log;
    let mut batch = Batch::default();
    batch.put(key(1), bytes[HEADER_BYTES..2000].to_vec().into());
    write(&mut log, [batch, put(2, "after", 10)]);
    let mut damaged = copy.read(&file_name(1));
    damaged[HEADER_BYTES + 8] ^= 1;
    copy.put(&file_name(1), damaged);
    assert_eq!(content(&open(&copy).entries), Model::from([(key(2), value("after", 10))]));
}

/// What a program of this version writes, byte for byte: a change needs a new version.
#[test]
fn the_format_is_what_it_was() {
    let disk = Disk::default();
    let mut log = open(&disk).log;
    let mut batch = put(1, "v", 3);
    batch.delete(key(2));
    write(&mut log, [batch]);
    let bytes = disk.read(&file_name(1));
    let header = Header { number: 1, first_sequence: 1, salt: SALT };
    assert_eq!(bytes[..HEADER_BYTES], header.encode());
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| b"0123456789abcdef"[half as usize]);
    let hex = |bytes: &[u8]| String::from_utf8(bytes.iter().flat_map(digits).collect()).unwrap();
    assert_eq!(
        [hex(&bytes[..36]), hex(&bytes[HEADER_BYTES..HEADER_BYTES + 56])],
        [
            "43415553455741590100000078563412010000000000000001000000000000006e8eeb1e",
            "4c64ed4400000000010000000000000017000000000000000\
             1076b65792d3030320101076b65792d30303103767676000000000000000000",
        ]
        .map(str::to_owned),
    );
}
