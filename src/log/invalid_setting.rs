//! Why a text is no setting of the log.

/// A text that is none of the values of a setting; it tells which there are.
///
/// # Examples
/// ```
/// use lockstepd::{AccessLog, InvalidSetting};
///
/// let error: InvalidSetting = "some".parse::<AccessLog>().unwrap_err();
/// assert_eq!(error.to_string(), "the access log is off, errors or all");
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{values}")]
pub struct InvalidSetting {
    values: &'static str,
}

// === impl InvalidSetting ===

impl InvalidSetting {
    /// `values` is a sentence that names them.
    pub(crate) const fn new(values: &'static str) -> Self {
        Self { values }
    }
}
