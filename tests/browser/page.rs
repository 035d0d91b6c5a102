//! What the page shows, and that it shows it as it happens.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;

use crate::{
    Setup,
    support::{Application, Client, Launch, PATIENCE, wait_until},
};

#[test]
fn the_page_shows_phase_servers_and_who_opened_their_sockets() {
    let Some(mut setup) = Setup::activated() else { return };
    let (public, admin) = (setup.daemon.public(), setup.daemon.admin());
    let Setup { browser, daemon, .. } = &setup;
    assert_eq!(browser.text("#name"), "lockstepd");
    assert_eq!(browser.text("#pid"), format!("pid {}", daemon.pid()));
    assert_eq!(browser.text("#version"), format!("version {}", env!("CARGO_PKG_VERSION")));
    assert!(browser.text("#uptime").starts_with("up "));
    let public_row = browser.text("[data-server=public]");
    assert!(public_row.contains(&public) && public_row.contains("from systemd"), "{public_row}");
    let admin_row = browser.text("[data-server=admin]");
    assert!(admin_row.contains(&admin) && admin_row.contains("bound by"), "{admin_row}");
    assert!(admin_row.contains("of 16 connections"), "{admin_row}");
    assert!(browser.text("#hand-over").contains("Nobody"));
    setup.wait_for_text("#events", "ready");
    setup.daemon.stop().assert(0, &[]);
}

#[test]
fn the_page_shows_the_application_and_whether_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("app.sock").display());
    let executed = directory.path().join("executed");
    let application = Application::start(&address, &executed, &[]);
    let launch = || Launch::daemon().args(["--public-proxy", &address]);
    let Some(mut setup) = Setup::with(launch) else { return };
    assert_eq!(setup.daemon.get_public("/").status, 200);
    setup.wait_for_text("[data-server=public]", &address);
    setup.wait_for_text("[data-server=public]", "there");
    application.kill();
    let mut client = Client::connect(&setup.daemon.public());
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    setup.wait_for_text("[data-server=public]", "away");
    setup.wait_for_text("[data-server=public]", "1 waiting");
    let application = Application::start(&address, &executed, &[]);
    assert_eq!(client.response("GET").status, 200);
    setup.wait_for_text("[data-server=public]", "there");
    application.kill();
}

#[test]
fn figures_change_while_requests_come() {
    let Some(mut setup) = Setup::start() else { return };
    assert_eq!(setup.browser.text("#open"), "0");
    let mut client = Client::connect(&setup.daemon.public());
    wait_until("figures of the requests", PATIENCE, || {
        for _ in 0..20 {
            client.request("GET", "/");
        }
        let figures = ["#rate", "#p50", "#p99", "#open"].map(|figure| setup.browser.text(figure));
        figures.iter().all(|figure| !matches!(figure.as_str(), "0" | "–"))
    });
    let row = setup.browser.text("[data-server=public]");
    assert!(row.contains("1 of "), "{row}");
    for chart in ["rate", "latency", "open"] {
        // More than one point makes a line.
        let script = format!(
            "return document.querySelector('#{chart}-chart .one').getAttribute('d').includes('L')"
        );
        setup.browser.wait_for(chart, &script);
    }
    drop(client);
    setup.wait_for_text("#open", "0");
    setup.wait_for_text("#rate", "0");
}

#[test]
fn a_log_line_with_markup_in_it_is_shown_as_text() {
    const KEY: &str = "<script>document.title='owned'</script><img src=x onerror=alert(1)>";
    let Some(mut setup) = Setup::start() else { return };
    fs::write(setup.config(), format!("\"{KEY}\" = 1\n")).unwrap();
    setup.daemon.signal(Signal::HUP);
    setup.daemon.find("an error", |event| event["level"] == "ERROR");
    setup.wait_for_text("#events", KEY);
    let elements =
        setup.browser.run("return document.querySelectorAll('#events :is(script, img)').length");
    assert_eq!(elements, 0);
    assert_ne!(setup.browser.run("return document.title"), "owned");
}

#[test]
fn nothing_is_said_in_the_console_and_foreign_script_is_refused() {
    let Some(setup) = Setup::start() else { return };
    setup.browser.wait_for("a second event", "return samples.length > 1");
    assert_eq!(setup.browser.console(), [""; 0]);
    // Seen to be refused, not only not to have happened yet.
    setup.browser.run(
        "window.refused = [];
         document.addEventListener('securitypolicyviolation', (e) => refused.push(e.effectiveDirective));
         const script = document.createElement('script');
         try { script.text = 'window.owned = true'; document.body.append(script); } catch {}
         try { document.body.innerHTML += '<p>markup</p>'; } catch {}
         const image = new Image();
         image.src = 'http://127.0.0.1:1/';
         document.body.setAttribute('style', 'color: red');",
    );
    for directive in ["require-trusted-types-for", "img-src", "style-src-attr"] {
        let script = format!("return refused.includes('{directive}')");
        setup.browser.wait_for(directive, &script);
    }
    assert_eq!(setup.browser.run("return window.owned === undefined"), true);
}

#[test]
fn the_page_goes_on_by_itself_after_an_upgrade() {
    let Some(mut setup) = Setup::start() else { return };
    let mut client = Client::connect(&setup.daemon.public());
    client.request("GET", "/");
    setup.browser.run("window.same = true");
    setup.daemon.signal(Signal::USR2);
    setup.wait_for_text("#hand-over", "taken over from the program before");
    setup.wait_for_phase("ready");
    client.request("GET", "/");
    setup.wait_for_text("[data-server=public]", "1 since the start");
    // Lines of both programs, in one page that was never loaded again.
    assert_eq!(setup.browser.text("#events").matches("startup_us").count(), 2);
    assert_eq!(setup.browser.run("return window.same"), true);
    let log = setup.daemon.stop().text();
    assert!(!log.contains("serving on until"), "the page held the upgrade back:\n{log}");
}

#[test]
fn the_page_says_so_when_it_hears_nothing_and_recovers_alone() {
    let Some(mut setup) = Setup::start() else { return };
    let (public, admin) = (setup.daemon.public(), setup.daemon.admin());
    let Setup { browser, daemon, directory } = setup;
    daemon.stop().assert(0, &[]);
    browser.wait_for(
        "the loss",
        "return document.querySelector('#phase').innerText == 'reconnecting…'",
    );
    assert!(browser.text("#note").contains("Nothing heard since"));
    assert_eq!(browser.run("return document.querySelector('#stop').disabled"), true);
    let daemon = Launch::on(&public, &admin).start();
    let setup = Setup { browser, daemon, directory };
    setup.wait_for_phase("ready");
    assert_eq!(setup.browser.text("#pid"), format!("pid {}", setup.daemon.pid()));
    assert_eq!(setup.browser.text("#note"), "");
    assert_eq!(setup.browser.run("return document.querySelector('#stop').disabled"), false);
}

#[test]
fn a_daemon_that_hangs_is_told_from_one_that_is_quiet() {
    let Some(setup) = Setup::start() else { return };
    setup.daemon.signal(Signal::STOP);
    setup.wait_for_phase("reconnecting…");
    setup.daemon.signal(Signal::CONT);
    setup.wait_for_phase("ready");
    // It stays so: nothing is left of the wait.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(setup.browser.text("#phase"), "ready");
}
