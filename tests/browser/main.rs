//! The status page in a real browser, and the stream that it lives on.
//!
//! The browser is Debian's: `apt-get install -y chromium chromium-driver`. Without it the tests that need
//! it are skipped, and say so; `LOCKSTEPD_REQUIRE_BROWSER=1` makes them fail instead.
//! `LOCKSTEPD_SCREENSHOTS=DIR` leaves pictures of the page in DIR.

#[path = "../support/mod.rs"]
mod support;

mod appearance;
mod events;
mod orders;
mod page;
mod restart;

use std::{fs, net::TcpListener, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Browser, Daemon, Launch};

/// A daemon with a configuration file of its own, and its page in a browser.
struct Setup {
    browser: Browser,
    daemon: Daemon,
    directory: TempDir,
}

impl Setup {
    /// Both servers bound by the daemon, at addresses that stay theirs after its end.
    fn start() -> Option<Self> {
        let address = Launch::address();
        Self::with(|| Launch::on(&format!("{address}:9090"), &format!("{address}:9091")))
    }

    /// The public server's socket opened by somebody else, as systemd does.
    fn activated() -> Option<Self> {
        let address = Launch::address();
        let public = TcpListener::bind(format!("{address}:0")).unwrap();
        Self::with(|| Launch::daemon().inherit("public", public))
    }

    fn with(launch: impl FnOnce() -> Launch) -> Option<Self> {
        let browser = Browser::start()?;
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("lockstepd.toml");
        fs::write(&config, "").unwrap();
        let daemon = launch().env("LOCKSTEPD_CONFIG", &config).start();
        let mut setup = Self { browser, daemon, directory };
        let admin = setup.daemon.admin();
        setup.browser.open(&format!("http://{admin}/"));
        setup.wait_for_phase("ready");
        Some(setup)
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("lockstepd.toml")
    }

    #[track_caller]
    fn wait_for_phase(&self, phase: &str) {
        self.wait_for_text("#phase", phase);
    }

    /// Waits until the element's text contains this.
    #[track_caller]
    fn wait_for_text(&self, selector: &str, text: &str) {
        let [selector_json, text_json] = [selector, text].map(|text| Value::from(text).to_string());
        let script = format!(
            "return document.querySelector({selector_json})?.innerText.includes({text_json})"
        );
        self.browser.wait_for(&format!("{selector} says {text:?}"), &script);
    }
}
