//! A database that is opened before anybody is served.

use crate::{
    examples::{load, machine, restart, stop},
    restart::{assert_unnoticed, under_load},
    support::{Load, PATIENCE, wait_until},
};

#[test]
fn database_has_every_order_that_it_has_answered() {
    let Some(machine) = machine("database", &["public=8080"]) else { return };
    machine.sh("mkdir /etc/systemd/system/database.service.d").ok();
    let state = "[Service]\nStateDirectory=database\n";
    machine.write("/etc/systemd/system/database.service.d/state.conf", state);
    machine.systemctl(&["daemon-reload"]).ok();
    let request = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\ntea";
    let load = Load { clients: 4, requests: vec![request.to_vec()], ..load("/") };
    let report = under_load(&machine, &load, |control| {
        machine.wait_for_state("database", "active");
        for _ in 0..5 {
            restart(&machine, "database", control);
        }
    });
    assert_unnoticed(&report, &load);
    let orders = machine.get("http://localhost:8080/orders");
    assert_eq!(orders, format!("{} orders\n", report.answers), "rows, and orders answered");
    stop(&machine, "database");
}

#[test]
fn a_database_that_cannot_be_opened_is_told_in_status_and_journal() {
    let Some(machine) = machine("database", &["public=8080"]) else { return };
    // There is no directory that it may write to.
    machine.sh("curl -s -m 5 localhost:8080/orders || true").ok();
    let cause = "set-up failed: cannot open orders.db: ";
    wait_until("the cause in STATUS", PATIENCE, || {
        machine.property("database", "StatusText").contains(cause)
    });
    machine.systemctl(&["stop", "database.socket", "database"]).ok();
    let told = machine.journal(&["MESSAGE_ID=393cbef64d4c47b1820077e29259c3b5"]);
    assert!(told.iter().any(|entry| entry["MEMBER"] == "set-up"), "{told:?}");
}
