//! Finding out whether a daemon would start, for an operator and for the dry run of an upgrade in place.

use std::process::ExitCode;

use crate::daemon::builder::Daemon;
use crate::daemon::error::{Error, Exit};
use crate::handover::announcement::{Announcement, InvalidAnnouncement};
use crate::handover::assignment::Received;
use crate::handover::carrier::CARRIER_VERSION;
use crate::handover::program::{CHECK_VARIABLE, VALID};
use crate::sockets::inherit::Inherited;
use crate::sockets::listen::Listen;

impl Daemon {
    /// Finds out whether [`Daemon::run`] would find its configuration and sockets usable, without
    /// binding anything. Writes the result to standard error, and answers the exit code.
    #[must_use]
    pub fn check(self) -> ExitCode {
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
        match self.checked() {
            Ok(()) => {
                eprintln!("{VALID}");
                Exit::Clean.into()
            }
            Err(error) => {
                eprintln!("{error}");
                error.exit().into()
            }
        }
    }

    pub(crate) fn checked(mut self) -> Result<(), Error> {
        let early = self.inherited.take();
        // Sockets that were taken already could be taken; otherwise they are taken here.
        let may_take = early.as_ref().map_or_else(Inherited::check_threads, |_| Ok(()));
        let inherited = early.map_or_else(Inherited::take_late, Ok)?;
        let servers = self.listens()?;
        #[cfg(feature = "log")]
        if let Some(log) = &self.log {
            log.check()?;
        }
        if let Some(file) = &self.access_file {
            file.check().map_err(Error::Configuration)?;
        }
        #[cfg(feature = "tls")]
        self.acceptors()?;
        let mut received = Received::sort(inherited.descriptors, inherited.misdirected)?;
        match std::env::var(CHECK_VARIABLE) {
            Ok(announcement) => {
                received.check_passed(&servers)?;
                may_take?;
                check_announcement(&announcement, &servers)
            }
            Err(_) => Ok(received.check_now(&servers)?),
        }
    }
}

/// Finds out whether this program could replace the one that has written the announcement.
fn check_announcement(announcement: &str, servers: &[(&str, &Listen)]) -> Result<(), Error> {
    let unknown = |error: InvalidAnnouncement| Error::Configuration(error.to_string());
    let announcement: Announcement = announcement.parse().map_err(unknown)?;
    if announcement.carrier != CARRIER_VERSION {
        return Err(Error::Configuration(
            "the running program hands connections over in another format (restart instead)"
                .to_owned(),
        ));
    }
    Ok(announcement.check(servers)?)
}
