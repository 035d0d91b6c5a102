//! All settings, and where each of them comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::lifecycle::{LifecycleSettings, LogSettings};
use super::limits::LimitSettings;
use super::proxy::ProxySettings;
use super::servers::{AdminSettings, PublicSettings};
use super::setting::Setting;
use super::tls::TlsSettings;
use super::value::Given;

/// The settings that sources mention. What is set later outranks what was set before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) lifecycle: LifecycleSettings,
    pub(crate) log: LogSettings,
    pub(crate) limits: LimitSettings,
    pub(crate) public: PublicSettings,
    pub(crate) proxy: ProxySettings,
    pub(crate) tls: TlsSettings,
    pub(crate) admin: AdminSettings,
    origins: BTreeMap<&'static str, Chosen>,
}

/// A value that was chosen for a setting.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// As it is written in the file.
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Flag(String),
    Variable(&'static str),
    File(PathBuf, usize),
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

// === impl Settings ===

impl Settings {
    /// The descriptions of all settings, in the order of the file and the manual.
    pub(crate) fn table() -> impl Iterator<Item = &'static Setting> {
        let tables = [
            LifecycleSettings::TABLE,
            LogSettings::TABLE,
            LimitSettings::TABLE,
            PublicSettings::TABLE,
            ProxySettings::TABLE,
            TlsSettings::TABLE,
            AdminSettings::TABLE,
        ];
        tables.into_iter().flatten()
    }

    /// Sets a setting to a value that stands in the file as `written`.
    ///
    /// # Errors
    /// When the value cannot be understood; says how one is written.
    pub(super) fn set(
        &mut self,
        setting: &'static Setting,
        given: Given,
        written: String,
        origin: Origin,
    ) -> Result<(), String> {
        setting.check(given)?;
        match setting.section() {
            "log" => self.log.set(setting.key, given)?,
            "limits" => self.limits.set(setting.key, given)?,
            "public" => self.public.set(setting.key, given)?,
            "proxy" => self.proxy.set(setting.key, given)?,
            "tls" => self.tls.set(setting.key, given)?,
            "admin" => self.admin.set(setting.key, given)?,
            _ => self.lifecycle.set(setting.key, given)?,
        }
        self.origins.insert(setting.key, Chosen { value: written, origin });
        Ok(())
    }

    /// Sets a setting to what a flag or a variable says.
    ///
    /// # Errors
    /// When the text cannot be understood; says how one is written.
    pub(super) fn set_text(
        &mut self,
        setting: &'static Setting,
        text: &str,
        origin: Origin,
    ) -> Result<(), String> {
        self.set(setting, Given::Text(text), setting.in_file(text), origin)
    }

    /// What was chosen for a setting; none if it has its default.
    pub(crate) fn chosen(&self, setting: &Setting) -> Option<&Chosen> {
        self.origins.get(setting.key)
    }
}
