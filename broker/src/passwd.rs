//! `passwd`: adds, changes and removes users of a password file, as `mosquitto_passwd` does.
//!
//! A new file is written beside the old one and put in its place, so that a node never reads half of one.
//! Comments and the order of lines stay. It leaves to others: what a hash is ([`crate::auth::entry`]), and
//! reading the file when a node runs ([`crate::auth`]).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    num::NonZeroU32,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use thiserror::Error;

use crate::auth::{
    entry::{Entry, EntryError, Kind},
    passwords::{self, Fault, Line},
};

/// Adds, changes or removes users of a password file; running nodes see it within seconds
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of mosquitto_passwd")]
pub struct Passwd {
    /// Begins a new file; an old one is overwritten
    #[arg(short = 'c', conflicts_with_all = ["remove", "update"])]
    create: bool,
    /// Takes the password from the command line, where others may see it
    #[arg(short = 'b', conflicts_with_all = ["remove", "update"], requires = "password")]
    batch: bool,
    /// Removes the user
    #[arg(short = 'D', conflicts_with = "update")]
    remove: bool,
    /// Hashes the passwords of a file that stand there as they are
    #[arg(short = 'U')]
    update: bool,
    /// How the password is hashed; mosquitto before 2.1 reads the second alone
    #[arg(short = 'H', value_name = "HASH", default_value = "argon2id")]
    hash: Hash,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The user; one that is there gets a new password
    #[arg(required_unless_present = "update")]
    user: Option<String>,
    /// With -b: the password. Otherwise it is asked for, or read as a line from standard input
    #[arg(requires = "batch")]
    password: Option<String>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hash {
    /// 19 MiB, two passes: tens of milliseconds for each comparison
    Argon2id,
    /// PBKDF2 with 210,000 rounds
    Sha512Pbkdf2,
}

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum PasswdError {
    /// The file, or one beside it.
    #[error("{file}: {error}", file = file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The password could not be read.
    #[error("the password cannot be read: {0}")]
    Input(io::Error),
    /// There is none, which would let in whoever knows the user's name.
    #[error("there is no password: it must not be empty")]
    Empty,
    /// It was typed in twice, and differently.
    #[error("the passwords are not the same")]
    Unlike,
    /// What cannot be a user's name in such a file.
    #[error(
        "a user name has no colon, no line end, no # first and no blanks around it, and is not empty"
    )]
    BadName,
    /// Nobody to remove.
    #[error("{file}: there is no user `{user}`", file = file.display())]
    NoUser {
        /// The file's path.
        file: PathBuf,
        /// Who was to be removed.
        user: String,
    },
    /// A line that is none.
    #[error("{file}: {fault}", file = file.display())]
    Line {
        /// The file's path.
        file: PathBuf,
        /// Which line, and why.
        fault: Fault,
    },
    /// The password could not be hashed.
    #[error("the password cannot be hashed: {0}")]
    Hash(#[from] EntryError),
}

/// A change of a file.
enum Edit {
    Set(String, Entry),
    Remove(String),
    /// Hash what is not.
    Update(Kind),
}

impl Passwd {
    /// Does it. The process is to end with this: 1 after an error, which has been printed.
    #[expect(clippy::print_stderr, reason = "a tool for a terminal")]
    pub fn run(self) -> ExitCode {
        match self.change() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }

    fn change(self) -> Result<(), PasswdError> {
        // A link stays one: its file is changed.
        let file = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        let at = |error| PasswdError::File { file: file.clone(), error };
        let begins = self.create;
        if !begins {
            // Before a password is asked for.
            fs::metadata(&file).map_err(at)?;
        }
        let change = self.edit()?;
        // Of two that change the same file at once, one would be lost: here the second waits.
        let alone = File::open(folder_of(&file)).map_err(at)?;
        alone.lock().map_err(at)?;
        let old = if begins { String::new() } else { fs::read_to_string(&file).map_err(at)? };
        write(&file, &edit(&old, &change, &file)?).map_err(at)
    }

    fn edit(self) -> Result<Edit, PasswdError> {
        let kind = self.hash.kind();
        let Some(user) = self.user.filter(|_| !self.update) else {
            return Ok(Edit::Update(kind));
        };
        let is_plain = user.trim() == user && !user.contains([':', '\n', '\r', '\0']);
        if user.is_empty() || !is_plain || user.starts_with('#') {
            return Err(PasswdError::BadName);
        }
        if self.remove {
            return Ok(Edit::Remove(user));
        }
        let password = match self.password {
            Some(password) => password,
            None => ask()?,
        };
        if password.is_empty() {
            return Err(PasswdError::Empty);
        }
        Ok(Edit::Set(user, Entry::new(kind, password.as_bytes())?))
    }
}

impl Hash {
    fn kind(self) -> Kind {
        match self {
            Self::Argon2id => Kind::DEFAULT,
            Self::Sha512Pbkdf2 => Kind::Pbkdf2 { rounds: ROUNDS },
        }
    }
}

fn ask() -> Result<String, PasswdError> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(PasswdError::Input)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map_err(PasswdError::Input);
    let password = ask("Password: ")?;
    if password == ask("Again: ")? { Ok(password) } else { Err(PasswdError::Unlike) }
}

/// The file after a change. Nothing is changed where a line is not understood.
fn edit(old: &str, change: &Edit, file: &Path) -> Result<String, PasswdError> {
    let mut new = Vec::new();
    let mut was_there = false;
    for (index, text) in old.lines().enumerate() {
        let at = |reason| {
            let fault = Fault { line: index + 1, reason };
            PasswdError::Line { file: file.to_owned(), fault }
        };
        let line = passwords::split(text).map_err(at)?;
        match (line, change) {
            (Line::User(user, _), Edit::Set(wanted, entry)) if user == wanted => {
                if !std::mem::replace(&mut was_there, true) {
                    new.push(format!("{user}:{entry}"));
                }
            }
            (Line::User(user, _), Edit::Remove(wanted)) if user == wanted => was_there = true,
            (Line::User(user, password), Edit::Update(kind)) => {
                new.push(match Entry::parse(password) {
                    Ok(_) => text.to_owned(),
                    Err(error) if is_plain(password, error) => {
                        format!("{user}:{}", Entry::new(*kind, password.as_bytes())?)
                    }
                    Err(error) => return Err(at(error.into())),
                });
            }
            (Line::User(..) | Line::Other, Edit::Set(..) | Edit::Remove(_) | Edit::Update(_)) => {
                new.push(text.to_owned());
            }
        }
    }
    match change {
        Edit::Set(user, entry) if !was_there => new.push(format!("{user}:{entry}")),
        Edit::Remove(user) if !was_there => {
            return Err(PasswdError::NoUser { file: file.to_owned(), user: user.clone() });
        }
        Edit::Set(..) | Edit::Remove(_) | Edit::Update(_) => {}
    }
    new.push(String::new());
    Ok(new.join("\n"))
}

/// Whether this is a password as somebody typed it. What was hashed and is damaged is none: hashed once more, it
/// would let in whoever has read the file.
fn is_plain(password: &str, error: EntryError) -> bool {
    match error {
        EntryError::Plain => true,
        EntryError::UnknownKind => password.matches('$').count() < HASH_MARKS_MIN,
        EntryError::Empty
        | EntryError::Parts
        | EntryError::Damaged
        | EntryError::Cost
        | EntryError::NoChance => false,
    }
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Puts a file in the place of another, wholly or not at all. It belongs to whom the other belonged, or if
/// there was none and root writes it, to whom its folder belongs; nobody else may read it.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let folder = folder_of(file);
    let written = write_new(&beside, text, (fs::metadata(file).ok(), &fs::metadata(folder)?));
    let placed = written.and_then(|()| fs::rename(&beside, file));
    if placed.is_err() {
        // Nothing is to be left behind; that it cannot be removed is not worth another word.
        let _ = fs::remove_file(&beside);
        return placed;
    }
    File::open(folder)?.sync_all()
}

fn write_new(
    path: &Path,
    text: &str,
    (old, folder): (Option<fs::Metadata>, &fs::Metadata),
) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    let new = file.metadata()?;
    let model = match &old {
        Some(old) => old,
        // What root writes is for the service, and to that the folder belongs.
        None if new.uid() == ROOT => folder,
        None => &new,
    };
    if (new.uid(), new.gid()) != (model.uid(), model.gid()) {
        fchown(&file, Some(model.uid()), Some(model.gid()))?;
    }
    if let Some(old) = &old {
        // A group that was let in on purpose stays so, to read.
        let mode = OWNER_ONLY | (old.mode() & GROUP_READS);
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Its number as a user.
const ROOT: u32 = 0;
const OWNER_ONLY: u32 = 0o600;
const GROUP_READS: u32 = 0o040;

/// `$kind$salt$hash` at least.
const HASH_MARKS_MIN: usize = 3;

/// As is recommended for HMAC-SHA-512 (OWASP, 2023).
const ROUNDS: NonZeroU32 = NonZeroU32::new(210_000).unwrap();

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;
    use crate::auth::passwords::{Passwords, Reason};

    const QUICK: Kind = Kind::Argon2id { memory_kib: 16, passes: 1, lanes: 1 };

    fn entry(password: &str) -> Entry {
        Entry::new(QUICK, password.as_bytes()).unwrap()
    }

    fn edited(old: &str, change: &Edit) -> Result<String, PasswdError> {
        edit(old, change, Path::new("file"))
    }

    #[test]
    fn users_are_added_changed_and_removed_where_they_stand() {
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let old = format!("# first\na:{a}\n\nb:{b}\n# last");
        let added = edited(&old, &Edit::Set("c".into(), c.clone())).unwrap();
        assert_eq!(added, format!("# first\na:{a}\n\nb:{b}\n# last\nc:{c}\n"));
        let changed = edited(&added, &Edit::Set("a".into(), c.clone())).unwrap();
        assert_eq!(changed, format!("# first\na:{c}\n\nb:{b}\n# last\nc:{c}\n"));
        let removed = edited(&changed, &Edit::Remove("b".into())).unwrap();
        assert_eq!(removed, format!("# first\na:{c}\n\n# last\nc:{c}\n"));
        assert!(matches!(
            edited(&removed, &Edit::Remove("b".into())),
            Err(PasswdError::NoUser { user, .. }) if user == "b"
        ));
        assert_eq!(edited("", &Edit::Set("c".into(), c.clone())).unwrap(), format!("c:{c}\n"));
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashed_ones_kept() {
        let a = entry("a");
        let old = format!("a:{a}\nb:plain\nc:$ecret\n");
        let new = edited(&old, &Edit::Update(QUICK)).unwrap();
        assert!(new.starts_with(&format!("a:{a}\n")) && !new.contains("plain"), "{new}");
        let passwords = Passwords::parse(new.as_bytes()).unwrap();
        for (user, password) in [("a", "a"), ("b", "plain"), ("c", "$ecret")] {
            assert!(passwords.get(user).unwrap().is_password(password.as_bytes()), "{user}");
        }
    }

    #[test]
    fn what_is_no_password_is_not_hashed() {
        use EntryError::{Cost, Damaged, Empty, UnknownKind};
        let a = entry("a");
        let hash = "A".repeat(86);
        for (text, expected) in [
            ("$7$101$AAAA$damaged".to_owned(), Damaged),
            (format!("$7$99999999$AAAA${hash}"), Cost),
            (format!("$argon2id$v=18$m=64,t=1,p=1$AAAA${hash}"), UnknownKind),
            ("$2b$12$abcdefghijklmnopqrstuv".to_owned(), UnknownKind),
            (String::new(), Empty),
        ] {
            let changed = edited(&format!("a:{a}\nb:{text}\n"), &Edit::Update(QUICK));
            let Err(PasswdError::Line { fault, .. }) = changed else { panic!("{changed:?}") };
            assert_eq!(fault, Fault { line: 2, reason: Reason::Entry(expected) }, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_none_stops_every_change() {
        let changed = edited("a:x\nnonsense\n", &Edit::Remove("a".into()));
        let Err(PasswdError::Line { fault, .. }) = changed else { panic!("{changed:?}") };
        assert_eq!(fault, Fault { line: 2, reason: Reason::Form });
    }

    #[test]
    fn a_file_is_replaced_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        let mode = || fs::metadata(&file).unwrap().mode() & 0o777;
        write(&file, "one\n").unwrap();
        assert_eq!((mode(), fs::read_to_string(&file).unwrap().as_str()), (0o600, "one\n"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        write(&file, "two\n").unwrap();
        assert_eq!((mode(), fs::read_to_string(&file).unwrap().as_str()), (0o640, "two\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(write(&folder.path().join("none/passwords"), "three").is_err());
    }

    /// Says nothing where the tests do not run as root.
    #[test]
    fn what_root_begins_belongs_to_whom_the_folder_belongs_and_what_is_there_stays_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        if fs::metadata(folder.path()).unwrap().uid() != ROOT {
            return;
        }
        let found = || {
            let found = fs::metadata(&file).unwrap();
            (found.uid(), found.gid(), found.mode() & 0o777)
        };
        chown(folder.path(), Some(1883), Some(1884)).unwrap();
        write(&file, "one\n").unwrap();
        assert_eq!(found(), (1883, 1884, 0o600));
        chown(&file, Some(0), Some(1885)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        write(&file, "two\n").unwrap();
        assert_eq!(found(), (0, 1885, 0o640));
    }
}
