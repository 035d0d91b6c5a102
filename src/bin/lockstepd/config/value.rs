//! Values of settings: how they are read from a text and from the file, and how they are written.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lockstepd::{AccessFormat, AccessLog, Address, Format, Level, Target, TrustedProxy};
use toml::de::DeValue;

/// A value as a source gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given<'a> {
    /// Of a flag or a variable.
    Text(&'a str),
    /// Of the file.
    Toml(&'a DeValue<'a>),
}

/// The type of a setting.
pub(crate) trait Value: Sized {
    /// How a value is written; ends an error.
    const HINT: &'static str = "";

    /// Whether it has several values.
    const IS_LIST: bool = false;

    /// Reads the value of a flag or a variable.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Reads the value of a file.
    fn from_toml(value: &DeValue) -> Result<Self, String>;

    /// What stands in the file for the text of a flag or a variable.
    fn in_file(text: &str) -> String {
        toml::Value::from(text).to_string()
    }

    /// Reads a value.
    fn read(given: Given) -> Result<Self, String> {
        match given {
            Given::Text(text) => Self::from_text(text),
            Given::Toml(value) => Self::from_toml(value),
        }
    }
}

/// Permissions in octal, such as `0660`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mode(u32);

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// What was found where another kind of value has to stand.
fn expected<T>(expected: &str, found: &DeValue) -> Result<T, String> {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    };
    Err(format!("expected {expected}, found {found}"))
}

// === Kinds of values ===

macro_rules! texts {
    ($($type:ty, $hint:literal;)*) => {$(
        impl Value for $type {
            const HINT: &'static str = $hint;

            fn from_text(text: &str) -> Result<Self, String> {
                parse(text)
            }

            fn from_toml(value: &DeValue) -> Result<Self, String> {
                match value {
                    DeValue::String(text) => Self::from_text(text),
                    other => expected("a text", other),
                }
            }
        }
    )*};
}

texts! {
    Address, "";
    AccessFormat, "";
    AccessLog, "";
    Format, "";
    Level, "";
    Mode, " (write \"0660\", with the quotation marks in the file)";
    PathBuf, "";
    String, "";
    Target, "";
    TrustedProxy, "";
    super::proxy::HealthPath, "";
    super::tls::ClientCertificates, "";
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const HINT: &'static str = " (write a whole number)";

            fn from_text(text: &str) -> Result<Self, String> {
                parse(text)
            }

            fn from_toml(value: &DeValue) -> Result<Self, String> {
                match value {
                    DeValue::Integer(number) => <$type>::from_str_radix(number.as_str(), number.radix())
                        .map_err(|error| error.to_string()),
                    other => expected("a number", other),
                }
            }

            fn in_file(text: &str) -> String {
                // A zero in front is none in the file.
                parse::<Self>(text).map_or_else(|_| text.to_owned(), |number| number.to_string())
            }
        }
    )*};
}

numbers!(u16, u32, usize);

impl Value for Duration {
    const HINT: &'static str = " (write a time such as \"20s\" or \"1m 30s\")";

    fn from_text(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|error| error.to_string())
    }

    fn from_toml(value: &DeValue) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            other => expected("a text", other),
        }
    }
}

impl Value for bool {
    const HINT: &'static str = " (write true or false)";

    fn from_text(text: &str) -> Result<Self, String> {
        parse(text)
    }

    fn from_toml(value: &DeValue) -> Result<Self, String> {
        match value {
            DeValue::Boolean(value) => Ok(*value),
            other => expected("true or false", other),
        }
    }

    fn in_file(text: &str) -> String {
        text.to_owned()
    }
}

/// In a flag or a variable the values are separated by commas; an empty one is an empty list.
impl<T: Value> Value for Vec<T> {
    const HINT: &'static str = T::HINT;
    const IS_LIST: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        items(text).map(T::from_text).collect()
    }

    fn from_toml(value: &DeValue) -> Result<Self, String> {
        match value {
            DeValue::Array(values) => {
                values.iter().map(|value| T::from_toml(value.get_ref())).collect()
            }
            other => {
                let refused = expected("a list", other);
                refused.map_err(|error| format!("{error} (write a list, in brackets)"))
            }
        }
    }

    fn in_file(text: &str) -> String {
        let items: Vec<_> = items(text).map(T::in_file).collect();
        format!("[{}]", items.join(", "))
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |_| !text.is_empty())
}

// === impl Mode ===

impl Mode {
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err("permissions are octal, and 0777 at most".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_without_what_the_file_refuses() {
        assert_eq!(u32::in_file("007"), "7");
        assert_eq!(Vec::<u32>::in_file("+1, 02"), "[1, 2]");
    }
}
