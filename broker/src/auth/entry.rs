//! One hashed password, as mosquitto writes it: `$6$`, `$7$` or `$argon2id$`.
//!
//! ```text
//! $6$<salt>$<hash>                       SHA-512 of password and salt, once (mosquitto to 1.6)
//! $7$<rounds>$<salt>$<hash>              PBKDF2 with HMAC-SHA-512 (mosquitto 1.6.8 to 2.0)
//! $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>       Argon2id (mosquitto 2.1)
//! ```
//!
//! It leaves to others: whose password it is (`passwords`), and when and where it is compared
//! (`verifier`).

use std::{fmt, num::NonZeroU32};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, digest, pbkdf2, rand};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use thiserror::Error;

/// A password, hashed. It is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    kind: Kind,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SHA-512, once: read, not written any more.
    Sha512,
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        /// At most 10,000,000.
        rounds: NonZeroU32,
    },
    /// Argon2id, version 19.
    Argon2id {
        /// KiB of memory, at most 1,048,576.
        memory_kib: u32,
        /// At most 1,000.
        passes: u32,
        /// At most 64.
        lanes: u32,
    },
}

/// Why a text is no hashed password. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// Nothing, which would let in whoever knows the user's name.
    #[error("no password")]
    Empty,
    /// Perhaps the password itself.
    #[error("a password that is not hashed: `passwd -U` does that")]
    Plain,
    /// `$…$`, and none we know.
    #[error("a hash of another kind than $6$, $7$ or $argon2id$")]
    UnknownKind,
    /// A part is missing or too much.
    #[error("a hash with a part too few or too many")]
    Parts,
    /// Salt or hash are no base64, or not as long as they must be.
    #[error("a salt or hash that is damaged")]
    Damaged,
    /// A cost that is no number, or beyond what this node would spend.
    #[error("a cost that is no number or out of range")]
    Cost,
    /// The system gives no random numbers.
    #[error("no random numbers to be had")]
    NoChance,
}

impl Entry {
    /// Reads what stands behind the colon.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.is_empty() {
            return Err(EntryError::Empty);
        }
        let mut parts = text.strip_prefix('$').ok_or(EntryError::Plain)?.split('$');
        let mut part = || parts.next().ok_or(EntryError::Parts);
        let kind = match part()? {
            "6" => Kind::Sha512,
            "7" => Kind::Pbkdf2 { rounds: part()?.parse().map_err(|_| EntryError::Cost)? },
            "argon2id" => {
                if part()? != "v=19" {
                    return Err(EntryError::UnknownKind);
                }
                costs(part()?)?
            }
            _ => return Err(EntryError::UnknownKind),
        };
        let (salt, hash) = (decode(part()?)?, decode(part()?)?);
        if parts.next().is_some() {
            return Err(EntryError::Parts);
        }
        kind.check(hash.len())?;
        let is_sound = (1..=SALT_BYTES_MAX).contains(&salt.len());
        is_sound.then_some(Self { kind, salt, hash }).ok_or(EntryError::Damaged)
    }

    /// Hashes a password, with a new salt.
    pub fn new(kind: Kind, password: &[u8]) -> Result<Self, EntryError> {
        let (salt_bytes, length) = match kind {
            // mosquitto 2.0 takes no other salt.
            Kind::Sha512 | Kind::Pbkdf2 { .. } => (12, SHA512_BYTES),
            Kind::Argon2id { .. } => (16, 32),
        };
        let mut salt = vec![0; salt_bytes];
        rand::fill(&mut salt).map_err(|_| EntryError::NoChance)?;
        kind.check(length)?;
        let hash = derive(kind, &salt, password, length).ok_or(EntryError::Cost)?;
        Ok(Self { kind, salt, hash })
    }

    /// Whether this is the password. It takes as long whether it is or not: microseconds to a second.
    pub fn is_password(&self, password: &[u8]) -> bool {
        let hash = derive(self.kind, &self.salt, password, self.hash.len());
        hash.is_some_and(|hash| constant_time::verify_slices_are_equal(&hash, &self.hash).is_ok())
    }

    /// Bytes of memory that a comparison takes while it lasts; 0 if it takes next to none.
    pub fn memory_bytes(&self) -> u64 {
        match self.kind {
            Kind::Sha512 | Kind::Pbkdf2 { .. } => 0,
            Kind::Argon2id { memory_kib, .. } => u64::from(memory_kib) * 1024,
        }
    }

    /// How it is hashed.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl Kind {
    /// What `passwd` writes: Argon2id with 19 MiB and two passes.
    pub const DEFAULT: Self = Self::Argon2id { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

    /// What takes less would be too weak, what takes more would stop a node.
    fn check(self, hash_bytes: usize) -> Result<(), EntryError> {
        let (is_payable, is_whole) = match self {
            Self::Sha512 => (true, hash_bytes == SHA512_BYTES),
            Self::Pbkdf2 { rounds } => (rounds.get() <= ROUNDS_MAX, hash_bytes == SHA512_BYTES),
            Self::Argon2id { memory_kib, passes, lanes } => {
                let params = Params::new(memory_kib, passes, lanes, Some(hash_bytes));
                let is_payable = memory_kib <= MEMORY_KIB_MAX && passes <= 1000 && lanes <= 64;
                (is_payable && params.is_ok(), (16..=64).contains(&hash_bytes))
            }
        };
        match (is_payable, is_whole) {
            (_, false) => Err(EntryError::Damaged),
            (false, true) => Err(EntryError::Cost),
            (true, true) => Ok(()),
        }
    }
}

/// `m=47104,t=1,p=1`
fn costs(text: &str) -> Result<Kind, EntryError> {
    let mut costs = text.split(',');
    let mut cost = |name| {
        let value = costs.next().and_then(|cost| cost.strip_prefix(name));
        value.and_then(|value| value.parse().ok()).ok_or(EntryError::Cost)
    };
    let (memory_kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
    let kind = Kind::Argon2id { memory_kib, passes, lanes };
    costs.next().is_none().then_some(kind).ok_or(EntryError::Cost)
}

/// The hash of a password; none if the costs cannot be paid.
fn derive(kind: Kind, salt: &[u8], password: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut hash = vec![0; length];
    match kind {
        Kind::Sha512 => {
            let mut context = digest::Context::new(&digest::SHA512);
            context.update(password);
            context.update(salt);
            hash = context.finish().as_ref().to_vec();
        }
        Kind::Pbkdf2 { rounds } => {
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, salt, password, &mut hash);
        }
        Kind::Argon2id { memory_kib, passes, lanes } => {
            let params = Params::new(memory_kib, passes, lanes, Some(length)).ok()?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let blocks = blocks(argon2.params().block_count())?;
            argon2.hash_password_into_with_memory(password, salt, &mut hash, blocks).ok()?;
        }
    }
    Some(hash)
}

/// Memory for one hash; none if there is not enough. Less than the allocator always maps would be cut from
/// its heaps, in which what is allocated meanwhile keeps it from going back: hundreds of MiB stayed. Room
/// that is not written to costs nothing.
fn blocks(count: usize) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(count.max(MAPPED_BYTES_MIN / Block::SIZE)).ok()?;
    blocks.resize(count, Block::default());
    Some(blocks)
}

fn decode(text: &str) -> Result<Vec<u8>, EntryError> {
    BASE64.decode(text).map_err(|_| EntryError::Damaged)
}

/// As it stands in a file.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = (BASE64.encode(&self.salt), BASE64.encode(&self.hash));
        match self.kind {
            Kind::Sha512 => write!(f, "$6${salt}${hash}"),
            Kind::Pbkdf2 { rounds } => write!(f, "$7${rounds}${salt}${hash}"),
            Kind::Argon2id { memory_kib, passes, lanes } => {
                // Argon2 writes its base64 without padding.
                let (salt, hash) = (salt.trim_end_matches('='), hash.trim_end_matches('='));
                write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
            }
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// With padding or without: OpenSSL writes it, Argon2 does not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const SHA512_BYTES: usize = 64;
/// Beyond the highest that glibc's threshold for maps of their own rises to, 32 MiB.
const MAPPED_BYTES_MIN: usize = 40 << 20;
const SALT_BYTES_MAX: usize = 1024;
const ROUNDS_MAX: u32 = 10_000_000;
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by `mosquitto_passwd` 2.0.11, the last one by the reference implementation of Argon2.
    pub(crate) const SAMPLES: [(&str, &str); 2] = [
        (
            "secret",
            "$6$1xY3diXC7p73AyLR$Zlz2w9D73rJI/iBAz0ZIiH9/kOxqtABVqAtca3feweJU5wdELTepvGRUTlSOcqGeJt2e2pZlIOdDHUG2/DAsCg==",
        ),
        (
            "geheim",
            "$7$101$NSZtvIuiLgvhtNDR$IWd69ddJA+xPEcTLZ8tlCYHmpvgW3gCNQnmu6bzPCQsGva0nKTGKtQ+vN9YAIYIZ0dwEAwLKS3mZWEizpV0adQ==",
        ),
    ];

    #[test]
    fn what_mosquitto_wrote_is_understood_and_written_alike() {
        for (password, text) in SAMPLES {
            let entry = Entry::parse(text).unwrap();
            assert!(entry.is_password(password.as_bytes()), "{text}");
            for wrong in ["", "Secret", "secret ", "geheim "] {
                assert!(!entry.is_password(wrong.as_bytes()), "{text} {wrong}");
            }
            assert_eq!(entry.to_string(), text);
        }
    }

    #[test]
    fn argon2_is_that_of_its_reference() {
        // `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 24`, from its test suite.
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let entry = Entry::parse(text).unwrap();
        assert!(entry.is_password(b"password"));
        assert!(!entry.is_password(b"passwort"));
        assert_eq!(entry.to_string(), text);
    }

    #[test]
    fn salts_and_hashes_of_64_bytes_are_taken() {
        let kind = Kind::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
        let salt = vec![7; 64];
        let hash = derive(kind, &salt, b"pw", 64).unwrap();
        let entry = Entry { kind, salt, hash };
        assert_eq!(Entry::parse(&entry.to_string()).as_ref(), Ok(&entry));
        assert!(entry.is_password(b"pw") && !entry.is_password(b"wp"));
        // With padding too.
        let padded: Vec<String> = entry.to_string().split('$').map(str::to_owned).collect();
        let padded = padded
            .iter()
            .map(|part| if part.len() == 86 { format!("{part}==") } else { part.clone() });
        let padded = padded.collect::<Vec<_>>().join("$");
        assert_eq!(Entry::parse(&padded), Ok(entry));
    }

    #[test]
    fn what_is_no_hash_is_refused_and_not_quoted() {
        use EntryError::{Cost, Damaged, Empty, Parts, Plain, UnknownKind};
        let h = "A".repeat(86);
        for (text, expected) in [
            (String::new(), Empty),
            ("secret".to_owned(), Plain),
            ("$".to_owned(), UnknownKind),
            (format!("$5$AAAA${h}"), UnknownKind),
            (format!("$2b$12$AAAA${h}"), UnknownKind),
            ("$6".to_owned(), Parts),
            ("$6$AAAA".to_owned(), Parts),
            (format!("$6$AAAA${h}$x"), Parts),
            (format!("$6$${h}"), Damaged),
            ("$6$AAAA$".to_owned(), Damaged),
            ("$6$AAAA$AAAA".to_owned(), Damaged),
            (format!("$6$A*AA${h}"), Damaged),
            (format!("$7$0$AAAA${h}"), Cost),
            (format!("$7$x$AAAA${h}"), Cost),
            (format!("$7$-1$AAAA${h}"), Cost),
            (format!("$7$10000001$AAAA${h}"), Cost),
            (format!("$argon2id$v=18$m=64,t=1,p=1$AAAA${h}"), UnknownKind),
            (format!("$argon2i$v=19$m=64,t=1,p=1$AAAA${h}"), UnknownKind),
            (format!("$argon2id$v=19$m=64,t=1$AAAA${h}"), Cost),
            (format!("$argon2id$v=19$m=64,t=1,p=1,x=1$AAAA${h}"), Cost),
            (format!("$argon2id$v=19$m=1,t=1,p=1$AAAA${h}"), Cost),
            (format!("$argon2id$v=19$m=1048577,t=1,p=1$AAAA${h}"), Cost),
            (format!("$argon2id$v=19$m=64,t=1001,p=1$AAAA${h}"), Cost),
            ("$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA".to_owned(), Damaged),
        ] {
            assert_eq!(Entry::parse(&text), Err(expected), "{text}");
        }
        let entry = Entry::parse(SAMPLES[0].1).unwrap();
        assert_eq!(format!("{entry:?}"), "Entry { kind: Sha512, .. }");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            // Without 0: HMAC, and so PBKDF2, takes no notice of those at the end of a key.
            password in prop::collection::vec(1_u8.., 0..80),
            other in prop::collection::vec(1_u8.., 0..80),
            kind in 0_u32..3,
        ) {
            let kind = match kind {
                0 => Kind::Sha512,
                1 => Kind::Pbkdf2 { rounds: NonZeroU32::new(3).unwrap() },
                _ => Kind::Argon2id { memory_kib: 16, passes: 1, lanes: 2 },
            };
            let entry = Entry::new(kind, &password).unwrap();
            prop_assert_eq!(Entry::parse(&entry.to_string()), Ok(entry.clone()));
            prop_assert!(entry.is_password(&password));
            prop_assert_eq!(entry.is_password(&other), password == other);
            prop_assert_ne!(entry.to_string(), Entry::new(kind, &password).unwrap().to_string());
        }

        #[test]
        fn any_text_is_read_or_refused(text in r"(\$|6|7|argon2id|v=19|m=8,t=1,p=1|[A-Za-z0-9+/=]{0,90}|.){0,12}") {
            if let Ok(entry) = Entry::parse(&text) {
                prop_assert_eq!(Entry::parse(&entry.to_string()), Ok(entry));
            }
        }
    }
}
