//! The tasks that a daemon is declared with, and the checks of names and addresses.

use std::fmt;
use std::pin::Pin;

use crate::BoxError;
use crate::daemon::error::Error;
use crate::lifecycle::shutdown::Shutdown;
use crate::sockets::listen::Listen;

/// A task that has been declared and not been started.
pub(crate) struct DeclaredTask {
    pub(crate) name: String,
    pub(crate) start: Box<dyn FnOnce(Shutdown) -> TaskFuture + Send>,
}

pub(crate) type TaskFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Where a server is to listen.
pub(crate) struct DeclaredListen<'d> {
    pub(crate) name: &'d str,
    pub(crate) listen: &'d Result<Listen, String>,
    /// It has a listener of the program's own, and needs no address.
    pub(crate) has_own: bool,
}

/// Checks names and addresses; answers each server with its addresses.
///
/// # Errors
/// When a name or an address cannot be used.
pub(crate) fn check<'d>(
    servers: impl Iterator<Item = DeclaredListen<'d>>,
    tasks: &[DeclaredTask],
) -> Result<Vec<(&'d str, &'d Listen)>, Error> {
    let mut listens: Vec<(&str, &Listen)> = Vec::new();
    for DeclaredListen { name, listen, has_own } in servers {
        if !is_name(name) {
            return Err(Error::Configuration(format!(
                "\"{}\" cannot name a server: use letters, digits, '-', '_' and '.', 64 at most",
                name.escape_debug(),
            )));
        }
        if listens.iter().any(|(earlier, _)| *earlier == name) {
            return Err(same_name(name));
        }
        let listen = listen.as_ref().map_err(|error| {
            Error::Configuration(format!("cannot listen for \"{name}\": {error}"))
        })?;
        if listen.addresses.is_empty() && !has_own {
            return Err(Error::Configuration(format!("\"{name}\" has no address to listen on")));
        }
        listens.push((name, listen));
    }
    let mut members: Vec<&str> = listens.iter().map(|(name, _)| *name).collect();
    for task in tasks {
        if members.contains(&&*task.name) {
            return Err(same_name(&task.name));
        }
        members.push(&task.name);
    }
    if listens.is_empty() {
        return Err(Error::Configuration("there is no server to run".to_owned()));
    }
    Ok(listens)
}

fn same_name(name: &str) -> Error {
    Error::Configuration(format!("two members are named \"{name}\""))
}

/// Tells whether a name can stand in `FileDescriptorName=`, logs and metrics.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(fits)
}

impl fmt::Debug for DeclaredTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeclaredTask").field("name", &self.name).finish_non_exhaustive()
    }
}
