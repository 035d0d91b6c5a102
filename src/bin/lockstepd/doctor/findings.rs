//! What will not work, and why.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Severity {
    /// Something does not work.
    Error,
    /// Something works less well than it could.
    Warning,
}

/// One of them, with the remedy.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    text: String,
}

/// All of them, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

// === impl Findings ===

impl Findings {
    pub(super) fn error(&mut self, text: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Error, text: text.into() });
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Warning, text: text.into() });
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.text)
    }
}
