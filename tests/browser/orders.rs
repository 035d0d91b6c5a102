//! What the buttons do, by mouse and by keyboard.

use std::fs;

use crate::{
    Setup,
    support::{Client, get},
};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

const OPEN: &str = "return document.querySelector('#stop-dialog').open";

#[test]
fn a_stop_needs_its_confirmation() {
    let Some(mut setup) = Setup::start() else { return };
    setup.browser.click("#stop");
    assert_eq!(setup.browser.run(OPEN), true);
    setup.browser.click("#stop-dialog .cancel");
    assert_eq!(setup.browser.run(OPEN), false);
    assert_eq!(setup.daemon.get_admin("/ready").body, "ready\n");
    setup.daemon.stop().assert(0, &[]);
}

#[test]
fn a_confirmed_stop_stops_the_daemon_with_its_reason() {
    let Some(setup) = Setup::start() else { return };
    setup.browser.click("#stop");
    setup.browser.press("disk & <b>100%</b> full");
    setup.browser.click("#stop-dialog [type=submit]");
    let ended = setup.daemon.end();
    ended.assert(0, &[]);
    let cause = &ended.event("stopped")["cause"];
    assert_eq!(cause, "stop requested: disk & <b>100%</b> full");
}

#[test]
fn a_page_of_somebody_elses_orders_nothing_by_what_it_posts() {
    let Some(mut setup) = Setup::start() else { return };
    let (public, admin) = (setup.daemon.public(), setup.daemon.admin());
    // Of another origin: what it may send without asking is a POST of plain text.
    setup.browser.open(&format!("http://{public}/"));
    let order = format!("GET /listener?stop=forged HTTP/1.1\\r\\nHost: {admin}\\r\\n\\r\\n");
    for repeated in [1, 700, 20_000, 40_000] {
        setup.browser.run(&format!(
            "window.done = false;
            const body = '{order}'.repeat({repeated});
            const posts = Array.from({{ length: 8 }}, () =>
                fetch('http://{admin}/live', {{ method: 'POST', mode: 'no-cors', body }}));
            Promise.allSettled(posts).then(() => window.done = true);"
        ));
        setup.browser.wait_for("the end of the posts", "return window.done");
    }
    let metrics = setup.daemon.get_admin("/metrics").body;
    assert!(metrics.contains("status=\"403\""), "they have come to the daemon: {metrics}");
    assert!(
        !metrics
            .contains("lockstepd_requests_total{server=\"admin\",method=\"GET\",status=\"403\"}")
    );
    assert_eq!(setup.daemon.get_admin("/ready").body, "ready\n");
    let ended = setup.daemon.stop();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("forged"), "{}", ended.text());
}

#[test]
fn the_page_tells_what_the_stop_waits_for() {
    let Some(mut setup) = Setup::start() else { return };
    let mut client = Client::connect(&setup.daemon.public());
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf");
    client.response("POST");
    get(&setup.daemon.admin(), "/listener?stop=maintenance");
    setup.wait_for_phase("draining");
    setup.wait_for_text("#note", "Stopping: stop requested: maintenance");
    assert_eq!(setup.browser.run("return document.querySelector('#stop').disabled"), true);
    client.send("half");
    setup.daemon.end().assert(0, &[]);
}

#[test]
fn a_reload_that_fails_shows_why_among_the_log_lines() {
    let Some(mut setup) = Setup::start() else { return };
    fs::write(setup.config(), "\ndrain = \"1s\"\n").unwrap();
    setup.browser.click("#reload");
    setup.browser.click("#reload-dialog [type=submit]");
    setup.wait_for_text("#events .ERROR", "lockstepd.toml:2:1: unknown setting drain");
    fs::write(setup.config(), "").unwrap();
    setup.browser.click("#reload");
    setup.browser.click("#reload-dialog [type=submit]");
    setup.wait_for_text("#events", "\nreloaded");
    setup.wait_for_phase("ready");
    setup.daemon.event("reloaded");
    setup.daemon.stop().assert(0, &[]);
}

#[test]
fn the_keyboard_reaches_everything_and_focus_is_visible() {
    let Some(setup) = Setup::start() else { return };
    let browser = &setup.browser;
    let focus = || browser.run("return document.activeElement.id");
    let outline = || browser.run("return getComputedStyle(document.activeElement).outlineStyle");
    browser.press(TAB);
    assert_eq!((focus(), outline()), ("reload".into(), "solid".into()));
    browser.press(TAB);
    assert_eq!((focus(), outline()), ("stop".into(), "solid".into()));
    browser.press(ENTER);
    assert_eq!(browser.run(OPEN), true);
    assert_eq!(focus(), "reason");
    browser.press(ESCAPE);
    assert_eq!(browser.run(OPEN), false);
    assert_eq!(focus(), "stop");
    browser.press(ENTER);
    browser.press("by hand");
    browser.press(TAB);
    browser.press(TAB);
    assert_eq!(outline(), "solid");
    browser.press(ENTER);
    let ended = setup.daemon.end();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopped")["cause"], "stop requested: by hand");
}
