//! A browser without a window, told what to do through chromedriver and asked what is to be seen.
//!
//! ```ignore
//! let Some(browser) = Browser::start() else { return };
//! browser.open("http://127.0.0.1:9091/");
//! browser.wait_for("the phase", "return document.title.startsWith('ready')");
//! ```
//!
//! One browser runs at a time, with a profile of its own, and ends with its test. Where there is none,
//! the test is skipped and says so; `LOCKSTEPD_REQUIRE_BROWSER=1` makes it fail instead.
//!
//! # Source
//! W3C `WebDriver`; `ChromeDriver`'s extensions `goog/cdp/execute` and `se/log`.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write, stderr},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    host::skip,
    wait::{Deadline, Lines, PATIENCE, wait_until},
};

/// A browser with one page.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    /// `/session/ID`.
    session: String,
    // Held open: the driver may write to it.
    _output: Lines,
    profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What the browser needs to run as root, and to keep its own traffic to itself.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
];

/// The key under which `WebDriver` names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

// === impl Browser ===

impl Browser {
    /// Starts a browser, if there is one.
    ///
    /// # Panics
    /// If there is none and `LOCKSTEPD_REQUIRE_BROWSER` is set (and not to 0).
    pub(crate) fn start() -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        if let Some(missing) = ["chromium", "chromedriver"].into_iter().find(|name| !exists(name)) {
            refuse(missing);
            return None;
        }
        // A test that failed has left nothing behind but the poison.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().expect("a temporary directory can be made");
        let mut driver = driver()
            .arg("--port=0")
            // Nothing of the browser's is looked for in, or left in, the user's directories.
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver can be executed");
        let mut output = Lines::new(driver.stdout.take().expect("it was piped"));
        let address = format!("127.0.0.1:{}", port(&mut output));
        let mut browser =
            Self { driver, address, session: String::new(), _output: output, profile, _turn: turn };
        browser.session = browser.begin();
        Some(browser)
    }

    fn begin(&self) -> String {
        let directory = format!("--user-data-dir={}", self.profile.path().display());
        let arguments: Vec<_> = ARGUMENTS.iter().copied().chain([&*directory]).collect();
        let session = self.call(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": { "browser": "ALL" },
                "goog:chromeOptions": { "args": arguments },
            }}}),
        );
        format!("/session/{}", session["sessionId"].as_str().expect("a session has a name"))
    }

    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page; answers what it returns.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something true.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, script: &str) {
        let is_true = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
        wait_until(what, PATIENCE, || is_true(&self.run(script)));
    }

    /// The text of an element as a reader sees it: nothing, of one that is hidden.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let path = format!("/element/{}/text", self.find(selector));
        let text = self.call("GET", &self.path(&path), &Value::Null);
        text.as_str().expect("a text is text").to_owned()
    }

    /// Clicks as a user does, who waits until that is possible: what is covered or hidden cannot be
    /// clicked.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let enabled = format!("return !document.querySelector('{selector}').disabled");
        self.wait_for(&format!("{selector} can be clicked"), &enabled);
        self.post(&format!("/element/{}/click", self.find(selector)), &json!({}));
    }

    /// Types into whatever has the focus; keys without a character are from `WebDriver`'s table.
    #[track_caller]
    pub(crate) fn press(&self, keys: &str) {
        let press = |key: char| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let actions: Vec<_> = keys.chars().flat_map(press).collect();
        self.post(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }),
        );
    }

    /// Calls a method of the browser's developer tools.
    #[track_caller]
    pub(crate) fn devtools(&self, method: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": method, "params": parameters }))
    }

    /// Makes the window as large as a screen.
    #[track_caller]
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Chooses between the schemes `light` and `dark`.
    #[track_caller]
    pub(crate) fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// What the console says since it was last asked: errors, refusals, and what scripts say.
    #[track_caller]
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a log is a list");
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let element = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        element[ELEMENT].as_str().expect("an element has a name").to_owned()
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &self.path(path), body)
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.session)
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = exchange(&self.address, method, path, body)
            .unwrap_or_else(|error| panic!("chromedriver does not answer {path}: {error}"));
        let value = answer["value"].clone();
        assert!(value.get("error").is_none(), "{path} {body}: {}", value["message"]);
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; what does not end by that is in the driver's process group or name space.
        let _ = exchange(&self.address, "DELETE", &self.session, &Value::Null);
        let group = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.driver.wait();
    }
}

/// The driver's command. As root it gets a process name space of its own, so that all of the browser
/// ends with it, and it with the thread of this test, even when that is killed.
fn driver() -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new("chromedriver");
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "chromedriver"]);
    command
}

/// One request on a connection of its own. It does not panic: a browser's end needs it.
fn exchange(address: &str, method: &str, path: &str, body: &Value) -> io::Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    // A browser's first start is long on a busy machine.
    stream.set_read_timeout(Some(3 * PATIENCE))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    // It keeps the connection open, whatever it is told.
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            match line.trim_end() {
                "" => break,
                _ => continue,
            }
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut json = vec![0; length];
    answer.read_exact(&mut json)?;
    serde_json::from_slice(&json).map_err(io::Error::other)
}

/// The port that the driver has chosen.
fn port(output: &mut Lines) -> u16 {
    const STARTED: &str = "started successfully on port ";
    let deadline = Deadline::after(PATIENCE);
    loop {
        let line = output.next(deadline).unwrap_or_else(|late| panic!("{late}: chromedriver"));
        let line = line.expect("chromedriver says its port before it ends");
        if let Some((_, port)) = line.split_once(STARTED) {
            return port.trim_end_matches('.').parse().expect("a port is a number");
        }
    }
}

/// Whether a program is in the path.
fn exists(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .any(|directory| fs::metadata(Path::new(&directory).join(program)).is_ok())
}

/// Says that there is no browser, where nobody captures it.
fn refuse(missing: &str) {
    static NOTICE: Once = Once::new();
    let required = env::var("LOCKSTEPD_REQUIRE_BROWSER").unwrap_or_default();
    let remedy = "apt-get install -y chromium chromium-driver";
    assert!(
        matches!(required.as_str(), "" | "0"),
        "there is no {missing}, and LOCKSTEPD_REQUIRE_BROWSER is set: {remedy}"
    );
    NOTICE.call_once(|| {
        let rule = "=".repeat(80);
        // Nobody is there to hear of a failure.
        let _ = stderr().write_all(
            format!(
                "\n{rule}\nNOT TESTED in a browser: there is no {missing} ({remedy})\nEvery test \
                 that needs one is skipped. LOCKSTEPD_REQUIRE_BROWSER=1 makes them fail.\n{rule}\n"
            )
            .as_bytes(),
        );
    });
    skip("no browser");
}
