//! What is said of a key of the file that is no setting.

use toml::de::DeValue;

use super::nearest::nearest;
use super::setting::Setting;
use super::settings::Settings;

/// Tells whether this is the name of a section.
pub(super) fn is_section(name: &str) -> bool {
    !name.is_empty() && Settings::table().any(|setting| setting.section() == name)
}

/// What is said of a key that is no setting.
pub(super) fn unknown(key: &str, value: &DeValue) -> String {
    if is_section(key) {
        return format!("{key} is a section (write [{key}], and its settings below it)");
    }
    let is_table = matches!(value, DeValue::Table(_));
    let near = if is_table {
        nearest(key, Settings::table().map(Setting::section)).map(|near| format!("[{near}]"))
    } else {
        meant(key).map(|setting| setting.key.to_owned())
    };
    let what = if is_table { "section" } else { "setting" };
    match near {
        Some(near) => format!("unknown {what} {key} (did you mean {near}?)"),
        None => format!("unknown {what} {key} (see lockstepd.toml(5))"),
    }
}

/// The setting that was meant by a key that is none.
fn meant(key: &str) -> Option<&'static Setting> {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    // One that has the same name in another section was put into the wrong one.
    let elsewhere = Settings::table().find(|setting| setting.name() == name);
    let named = |near: &str, is_here: &dyn Fn(&Setting) -> bool| {
        Settings::table().find(|setting| setting.name() == near && is_here(setting))
    };
    let near = |is_here: &dyn Fn(&Setting) -> bool| {
        let settings = Settings::table().filter(|setting| is_here(setting));
        nearest(name, settings.map(Setting::name)).and_then(|near| named(near, is_here))
    };
    elsewhere.or_else(|| near(&|setting| setting.section() == section)).or_else(|| near(&|_| true))
}
