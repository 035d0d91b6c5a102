//! How the page looks: on a phone, in light and in dark.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    Setup,
    support::{Client, Launch, get},
};

/// Every pair of text and what lies behind it: its contrast after WCAG 2, and its text.
const CONTRASTS: &str = "
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const over = (top, below) => {
        const alpha = top[3] ?? 1;
        return [0, 1, 2].map((at) => top[at] * alpha + below[at] * (1 - alpha));
    };
    const luminance = (colour) => {
        const [r, g, b] = colour.map((c) => c / 255)
            .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => node
        ? over(parse(getComputedStyle(node).backgroundColor), behind(node.parentElement))
        : [255, 255, 255];
    return [...document.querySelectorAll('body *')]
        .filter((node) => node.checkVisibility() && !node.disabled
            && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
        .map((node) => {
            const below = behind(node);
            const lights = [over(parse(getComputedStyle(node).color), below), below].map(luminance);
            const [low, high] = lights.sort((a, b) => a - b);
            return [(high + 0.05) / (low + 0.05), node.textContent];
        });";

const BACKGROUND: &str = "return getComputedStyle(document.body).backgroundColor";

#[test]
fn a_phone_never_scrolls_sideways() {
    let directory = tempfile::tempdir().unwrap();
    let long = format!("unix:{}/{}", directory.path().display(), "x".repeat(60));
    let admin = format!("{}:0", Launch::address());
    let Some(setup) = Setup::with(|| Launch::on(&long, &admin)) else { return };
    fs::write(setup.config(), format!("\"{}\" = 1", "w".repeat(300))).unwrap();
    setup.browser.resize(360, 740);
    setup.browser.click("#reload");
    setup.browser.click("#reload-dialog [type=submit]");
    setup.wait_for_text("#events .ERROR", "www");
    setup.browser.click("#stop");
    assert_eq!(
        setup.browser.run("return [document.documentElement.scrollWidth, document.querySelector('#stop-dialog').scrollWidth <= 328]"),
        json!([360, true])
    );
    // A finger needs room.
    let small = "return [...document.querySelectorAll('button')].filter((button) => \
                 button.checkVisibility() && button.offsetHeight < 44).length";
    assert_eq!(setup.browser.run(small), 0);
    setup.browser.click("#stop-dialog .cancel");
}

#[test]
fn light_and_dark_differ_and_both_can_be_read() {
    let Some(setup) = Setup::start() else { return };
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        setup.browser.prefer(scheme);
        backgrounds.push(setup.browser.run(BACKGROUND));
        for pair in setup.browser.run(CONTRASTS).as_array().unwrap() {
            assert!(pair[0].as_f64().unwrap() >= 4.5, "{scheme}: {pair}");
        }
    }
    assert_eq!(backgrounds, ["rgb(245, 246, 248)", "rgb(14, 17, 22)"]);
}

#[test]
fn pictures_are_left_where_they_are_asked_for() {
    let Some(directory) = env::var_os("LOCKSTEPD_SCREENSHOTS") else { return };
    let Some(mut setup) = Setup::activated() else { return };
    let mut clients = [(); 3].map(|()| Client::connect(&setup.daemon.public()));
    fs::write(setup.config(), "drain = \"1s\"").unwrap();
    for round in 0..40 {
        let requests = 20 + 7 * (round % 5);
        for (at, client) in clients.iter_mut().enumerate() {
            (0..requests * (at + 1)).for_each(|_| drop(client.request("GET", "/")));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    Client::connect(&setup.daemon.admin()).request("POST", "/reload");
    fs::write(setup.config(), "").unwrap();
    setup.wait_for_text("#events", "not reloaded");
    get(&setup.daemon.public(), "/");
    let shoot = |name: &str| {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = setup.browser.devtools("Page.captureScreenshot", &whole);
        write_base64(&Path::new(&directory).join(name), &shot["data"]);
    };
    for (device, width, height) in [("desktop", 1200, 860), ("phone", 360, 740)] {
        for scheme in ["light", "dark"] {
            setup.browser.resize(width, height);
            setup.browser.prefer(scheme);
            shoot(&format!("{device}-{scheme}.png"));
        }
    }
    setup.browser.click("#stop");
    shoot("phone-stop.png");
}

fn write_base64(path: &Path, text: &Value) {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.as_str().unwrap().bytes() {
        let Some(digit) = DIGITS.iter().position(|digit| *digit == byte) else { break };
        bits = (bits << 6) | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_be_bytes()[3]);
        }
    }
    fs::write(path, bytes).unwrap();
}
