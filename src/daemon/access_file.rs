//! The access log's file: opened at the start, and anew at each reload.

use tokio::task::spawn_blocking;

use crate::daemon::builder::Daemon;
use crate::daemon::error::Error;
use crate::daemon::reload::Reload;
use crate::daemon::run::system;
use crate::daemon::running::Running;
use crate::http::access::{AccessFile, AccessLog};
use crate::http::connection::HttpSettings;
use crate::log::file::OpenFile;

/// A file, opened; or none.
#[derive(Debug, Default)]
pub(crate) struct OpenAccessFile(Option<(AccessFile, OpenFile)>);

// === impl OpenAccessFile ===

impl OpenAccessFile {
    /// Opens the file of a daemon that starts, now or, if an error may pass, in time.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn of(daemon: &Daemon) -> Result<Self, Error> {
        let Some(file) = daemon.access_file.clone() else { return Ok(Self::default()) };
        let opened = file.open_in_time().map_err(Error::Configuration)?;
        Ok(Self(Some((file, opened))))
    }

    fn open(file: Option<AccessFile>) -> Result<Self, String> {
        let Some(file) = file else { return Ok(Self::default()) };
        let opened = file.open()?;
        Ok(Self(Some((file, opened))))
    }

    /// Has the lines of these settings go to it; answers which file it is.
    ///
    /// # Errors
    /// When the thread that writes to it cannot be started.
    pub(crate) fn give(self, settings: &HttpSettings) -> Result<Option<AccessFile>, Error> {
        let (file, next) = match self.0 {
            Some((file, opened)) => {
                let format = file.format;
                (Some(file), Some((opened, format)))
            }
            None => (None, None),
        };
        let given = settings.access.set_file(next);
        given.map_err(system("start the thread that writes the access log's file"))?;
        Ok(file)
    }
}

impl Daemon {
    /// Which requests are logged: with a file all of them, unless the program says something else.
    pub(crate) fn logged(&self) -> AccessLog {
        let default =
            if self.access_file.is_some() { AccessLog::All } else { AccessLog::default() };
        self.access_log.unwrap_or(default)
    }
}

impl Running {
    /// Opens the file that is to be written to after a reload: another one, or the same anew.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) async fn open_access_file(&self, reload: &Reload) -> Result<OpenAccessFile, String> {
        let file = reload.access_file.clone().unwrap_or_else(|| self.access_file.clone());
        let opened = spawn_blocking(move || OpenAccessFile::open(file)).await;
        opened.unwrap_or_else(|panic| Err(format!("the access log could not be opened: {panic}")))
    }

    /// Has every server's lines go to that file.
    pub(crate) fn exchange_access_file(&mut self, opened: OpenAccessFile) {
        match opened.give(&self.http_settings) {
            Ok(file) => self.access_file = file,
            Err(error) => tracing::error!("the access log goes where it went before: {error}"),
        }
        for server in &self.servers {
            server.http_settings().access.follow(&self.http_settings.access);
        }
    }
}
