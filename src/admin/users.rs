//! Which users of a Unix socket's clients the kernel can tell apart.
//!
//! In a user namespace (`PrivateUsers=yes`) only the users that are mapped into it have numbers of their own; the
//! kernel shows any other as [`OVERFLOW`]. A setting that names an unmapped user would refuse that user, and one
//! that names the overflow user would let in all unmapped ones.
//!
//! # Source
//! `user_namespaces(7)`, "User and group ID mappings" and "Unmapped user and group IDs".

use std::fs;

/// The user that stands for all unmapped ones, unless `/proc/sys/kernel/overflowuid`, which the sandbox hides, says
/// otherwise.
const OVERFLOW: u32 = 65534;

/// How many user IDs there are.
const ALL: u64 = u32::MAX as u64;

/// The users of a user namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UserMap {
    /// The first user of each range, and how many there are in it.
    ranges: Vec<(u32, u32)>,
}

// === impl UserMap ===

impl UserMap {
    /// The map of this process. If it cannot be read, all users count as mapped: the kernel has no user
    /// namespaces, or there is no `/proc` to find out.
    pub(crate) fn own() -> Self {
        let text = fs::read_to_string("/proc/self/uid_map");
        let all = Self { ranges: vec![(0, u32::MAX)] };
        text.ok().and_then(|text| Self::parse(&text)).unwrap_or(all)
    }

    fn parse(text: &str) -> Option<Self> {
        let range = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
                [Some(Ok(first)), Some(Ok(_)), Some(Ok(count)), None] => Some((first, count)),
                _ => None,
            }
        };
        text.lines().map(range).collect::<Option<_>>().map(|ranges| Self { ranges })
    }

    /// Tells whether a client that is said to be `user` is that user and no other.
    pub(crate) fn knows(&self, user: u32) -> bool {
        let mapped: u64 = self.ranges.iter().map(|(_, count)| u64::from(*count)).sum();
        let is_in = |(first, count): &(u32, u32)| user >= *first && user - first < *count;
        self.ranges.iter().any(is_in) && (user != OVERFLOW || mapped >= ALL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(map: &str, users: &[u32]) -> Vec<u32> {
        let map = UserMap::parse(map).unwrap();
        users.iter().copied().filter(|user| map.knows(*user)).collect()
    }

    #[test]
    fn outside_of_a_namespace_all_users_are_known() {
        let users = [0, 1000, 61184, 65533, 65534, 65535, 100_000];
        assert_eq!(known("         0          0 4294967295\n", &users), users);
    }

    #[test]
    fn in_a_namespace_those_are_known_that_are_mapped() {
        let users = [0, 999, 1000, 1001, 61184, 65534];
        // As systemd does for PrivateUsers=yes.
        assert_eq!(known("0 0 1\n61184 61184 1\n", &users), [0, 61184]);
        assert_eq!(known("1000 0 1\n", &users), [1000]);
        // As containers have it: the last of them stands for all others.
        assert_eq!(known("0 100000 65536\n", &users), [0, 999, 1000, 1001, 61184]);
        assert!(known("", &users).is_empty());
    }

    #[test]
    fn what_is_no_map_is_none() {
        for text in ["\n", "0 0", "0 0 x", "0 0 1 1", "-1 0 1", "0 0 4294967296"] {
            assert_eq!(UserMap::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_map_is_too_strange_to_ask(text in "([0-9]{1,10} {1,3}[0-9]{1,10} [0-9]{1,10}\n){0,4}", user: u32) {
            if let Some(map) = UserMap::parse(&text) {
                prop_assert!(!map.knows(user) || !map.ranges.is_empty());
            }
        }
    }
}
