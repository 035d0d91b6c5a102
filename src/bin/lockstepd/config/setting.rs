//! The description of a setting, of which everything that names settings is made: flags, variables, the file, `config`,
//! the manual pages and the tables of the documentation.

use super::value::{Given, Value};

/// What a setting is called, how it is written, and what it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Its name in the file, with the section before a dot.
    pub(crate) key: &'static str,
    /// Its variable; the flag has the same name.
    pub(crate) variable: &'static str,
    /// What a value is called in the help.
    pub(crate) value: &'static str,
    pub(crate) default: Default,
    /// Whether a reload changes it, else a restart; a test holds [`Config::reload`](super::Config::reload) to it.
    pub(crate) reload: bool,
    /// One sentence, without a full stop at its end.
    pub(crate) help: &'static str,
    /// Whole sentences for who reads on: in the manual, and in the file. May be empty.
    pub(crate) more: &'static str,
    pub(crate) is_list: bool,
    /// How a value is written, for an error.
    pub(crate) hint: &'static str,
    pub(super) check: fn(Given) -> Result<(), String>,
    pub(super) in_file: fn(&str) -> String,
}

/// What counts where no source mentions a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    /// This text, as a flag or a variable would have it.
    To(&'static str),
    /// Nothing; then this is what happens. With a value as an example.
    None(
        &'static str,
        #[cfg_attr(not(test), expect(dead_code, reason = "for the file, which a test writes"))]
        &'static str,
    ),
}

/// Makes a struct of settings, each `None` where no source mentions it, and their descriptions.
macro_rules! settings {
    ($(#[$attribute:meta])* $name:ident {
        $($field:ident: $type:ty = $key:literal { $($description:tt)* })*
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: Option<$type>,)*
        }

        impl $name {
            /// The descriptions, in the order of the manual.
            pub(crate) const TABLE: &[$crate::config::setting::Setting] = {
                use $crate::config::setting::{Default, Setting};
                &[$(Setting { key: $key, $($description)* ..Setting::of::<$type>() }),*]
            };

            /// Sets the setting of that key, if it is one of these.
            ///
            /// # Errors
            /// When the value cannot be understood.
            pub(crate) fn set(
                &mut self,
                key: &str,
                given: $crate::config::value::Given,
            ) -> Result<(), String> {
                match key {
                    $($key => {
                        self.$field = Some(<$type as $crate::config::value::Value>::read(given)?);
                    })*
                    _ => {}
                }
                Ok(())
            }
        }
    };
}
pub(crate) use settings;

// === impl Setting ===

impl Setting {
    /// What the type of a setting says of it.
    pub(super) const fn of<T: Value>() -> Self {
        Self {
            key: "",
            variable: "",
            value: "",
            default: Default::None("", ""),
            reload: false,
            help: "",
            more: "",
            is_list: T::IS_LIST,
            hint: T::HINT,
            check: |given| T::read(given).map(drop),
            in_file: T::in_file,
        }
    }

    /// The name of its flag, without the dashes in front.
    pub(crate) fn flag(&self) -> String {
        let name = self.variable.strip_prefix("LOCKSTEPD_").unwrap_or(self.variable);
        name.to_ascii_lowercase().replace('_', "-")
    }

    /// The section that it stands in; empty for none.
    pub(crate) fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its name in its section.
    pub(crate) fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Finds out whether a value can be understood.
    ///
    /// # Errors
    /// When it cannot; says how one is written.
    pub(crate) fn check(&self, given: Given) -> Result<(), String> {
        (self.check)(given).map_err(|error| {
            let hint = if error.ends_with(')') { "" } else { self.hint };
            format!("{error}{hint}")
        })
    }

    /// What stands in the file for a text.
    pub(crate) fn in_file(&self, text: &str) -> String {
        (self.in_file)(text)
    }

    /// Everything that there is to say: whole sentences.
    pub(crate) fn manual(&self) -> String {
        let when = if self.reload { "" } else { "A change needs a restart." };
        let sentences = [&format!("{}.", self.help), self.more, when];
        let sentences = sentences.into_iter().filter(|text| !text.is_empty());
        sentences.collect::<Vec<_>>().join(" ")
    }

    /// Its default, in words for the help.
    pub(crate) fn default_in_words(&self) -> &'static str {
        match self.default {
            Default::To("") => "none",
            Default::To(text) | Default::None(text, _) => text,
        }
    }
}
