//! The keys of session tickets, with which clients resume their sessions without a full handshake.
//!
//! A key is used for [`USED_FOR`], and read with for [`READ_FOR`] more; then the tickets that it was used for are
//! worthless, also to who has recorded the connections. They travel to the next process, so that a restart
//! costs nobody a full handshake.
//!
//! # Source
//! RFC 5077 section 5.5, RFC 8446 section 4.6.1 (a ticket lives for seven days at most).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// How long new tickets are made with a key.
pub(super) const USED_FOR: Duration = Duration::from_secs(2 * 3600);

/// How long after that its tickets are good.
pub(super) const READ_FOR: Duration = Duration::from_secs(10 * 3600);

/// How often there is a new key: before the last one is used no more.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The keys of a server, the newest last.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct TicketKeys(Vec<TicketKey>);

/// A key, with its name in the tickets.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct TicketKey {
    pub(super) name: [u8; 16],
    pub(super) secret: [u8; 32],
    /// Since when it is used, in seconds since 1970.
    introduced: u64,
}

// === impl TicketKeys ===

impl TicketKeys {
    /// Tells whether there should be another key.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        // A clock that was set back makes a key seem to be of the future.
        self.0.last().is_none_or(|last| {
            now.duration_since(last.introduced()).is_ok_and(|age| age >= INTERVAL)
        })
    }

    /// Adds a key if one is due, and drops those that nothing can be read with.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(super) fn rotate(&mut self, now: SystemTime) -> Result<(), rustix::io::Errno> {
        let is_good = |key: &TicketKey| {
            now.duration_since(key.introduced()).unwrap_or_default() < USED_FOR + READ_FOR
        };
        self.0.retain(is_good);
        if self.is_due(now) {
            self.0.push(TicketKey::new(now)?);
        }
        Ok(())
    }

    /// These, and those of another process that come after them. One that was not due yet is left out: a process makes
    /// one before it knows of these, and there would be as many as there have been processes. s2n takes 48.
    pub(super) fn followed_by(mut self, later: &Self) -> Self {
        for key in &later.0 {
            if self.is_due(key.introduced()) {
                self.0.push(key.clone());
            }
        }
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TicketKey> {
        self.0.iter()
    }
}

// === impl TicketKey ===

impl TicketKey {
    fn new(now: SystemTime) -> Result<Self, rustix::io::Errno> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut key = Self { name: [0; 16], secret: [0; 32], introduced: since.as_secs() };
        fill(&mut key.name)?;
        fill(&mut key.secret)?;
        Ok(key)
    }

    pub(super) fn introduced(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.introduced)
    }
}

impl Drop for TicketKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for TicketKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").field("introduced", &self.introduced).finish_non_exhaustive()
    }
}

/// Fills `bytes`: up to 256 the kernel gives at once.
fn fill(bytes: &mut [u8]) -> Result<(), rustix::io::Errno> {
    let filled = rustix::io::retry_on_intr(|| getrandom(&mut *bytes, GetRandomFlags::empty()))?;
    if filled == bytes.len() { Ok(()) } else { Err(rustix::io::Errno::IO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_new_key_each_hour_and_the_old_ones_go_when_their_tickets_are_worthless() {
        let began = SystemTime::now();
        let mut keys = TicketKeys::default();
        let most = 12;
        for hour in 0..100 {
            let now = began + hour * INTERVAL;
            assert!(keys.is_due(now));
            keys.rotate(now).unwrap();
            assert!(!keys.is_due(now));
            assert_eq!(keys.0.len(), most.min(hour as usize + 1));
            let newest = keys.0.last().unwrap().introduced();
            assert!(now.duration_since(newest).unwrap() < Duration::from_secs(1));
        }
    }

    #[test]
    fn many_processes_one_after_the_other_have_as_many_keys_as_one() {
        let mut keys = TicketKeys::default();
        keys.rotate(SystemTime::now()).unwrap();
        for _ in 0..100 {
            let mut own = TicketKeys::default();
            own.rotate(SystemTime::now()).unwrap();
            keys = keys.followed_by(&own);
        }
        assert_eq!(keys.0.len(), 1);
    }

    #[test]
    fn a_key_that_is_due_is_taken_from_the_later_process() {
        let now = SystemTime::now();
        let (mut before, mut own) = (TicketKeys::default(), TicketKeys::default());
        before.rotate(now - 2 * INTERVAL).unwrap();
        own.rotate(now).unwrap();
        let own_name = own.0[0].name;
        let all = before.followed_by(&own);
        assert_eq!(all.0.last().unwrap().name, own_name);
        assert_eq!(all.0.len(), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_costs_no_key() {
        let mut keys = TicketKeys::default();
        keys.rotate(SystemTime::now()).unwrap();
        keys.rotate(SystemTime::now() - 48 * INTERVAL).unwrap();
        assert_eq!(keys.0.len(), 1);
    }
}
