//! `lockstepd doctor`: what of an installed unit will not work, and why.
//!
//! It reads unit files and what they name, and asks nobody.

mod access_file;
mod findings;
mod program;
mod sandbox;
mod search_path;
mod service;
mod sockets;
mod unit_file;

use std::process::ExitCode;

use self::findings::{Findings, Severity};
use self::program::Program;
use self::search_path::SearchPath;
use self::unit_file::Unit;
use crate::command::Doctor;

/// Looks at a unit, and writes what was found to standard output; the exit code is 1 if something does not work.
pub(crate) fn examine(doctor: &Doctor) -> ExitCode {
    let name = match &doctor.unit {
        name if is_unit(name) => name.clone(),
        name => format!("{name}.service"),
    };
    let mut findings = Findings::default();
    let path = SearchPath::of(doctor.user);
    if !name.ends_with(".service") || name.contains('/') {
        let told = "this is not the name of a service (write lockstepd.service, for example)";
        findings.error(format!("{name}: {told}"));
        return tell(&name, &findings);
    }
    match path.read(&name) {
        Ok(Some(unit)) if unit.is_masked => {
            findings.error(format!("{name}: it is masked (systemctl unmask {name})"));
        }
        Ok(Some(unit)) if is_application(&unit) => findings.error(format!(
            "{name}: this is an application behind lockstepd, which needs nothing of what lockstepd's own unit needs \
             (look at that one: lockstepd doctor lockstepd@{})",
            name.trim_end_matches(".service")
        )),
        Ok(Some(unit)) => look_at(&unit, &path, &mut findings),
        Ok(None) => findings.error(format!(
            "{name}: there is no such unit in {} (install it, or name another: lockstepd doctor UNIT)",
            path.shown()
        )),
        Err(error) => findings.error(format!("{name}: cannot read its files: {error}")),
    }
    tell(&name, &findings)
}

/// Tells whether a name has a unit's kind at its end; as for systemctl, others are services.
fn is_unit(name: &str) -> bool {
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    ["service", "socket", "target", "container"].map(Some).contains(&kind)
}

/// Tells whether a unit is of an application that lockstepd holds the requests of.
fn is_application(unit: &Unit) -> bool {
    // In the unit that make-units.sh makes a shell is around it.
    unit.all("Service", "ExecStop").iter().any(|stop| stop.value.contains("lockstepd hold "))
}

fn tell(name: &str, findings: &Findings) -> ExitCode {
    for finding in &findings.0 {
        println!("{finding}");
    }
    let [errors, warnings] =
        [Severity::Error, Severity::Warning].map(|severity| findings.count(severity));
    println!("{name}: {}", summary(errors, warnings));
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look_at(unit: &Unit, path: &SearchPath, findings: &mut Findings) {
    let program = Program::of(unit, findings);
    let names = sockets::check(unit, path, program.config.as_ref(), findings);
    let needs = program.needs(&names);
    service::check(unit, needs, service::systemd_version(), findings);
    sandbox::check(unit, &program, &names, findings);
}

fn summary(errors: usize, warnings: usize) -> String {
    let number = |number, what| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    match (errors, warnings) {
        (0, 0) => "nothing to mend".to_owned(),
        _ => format!("{}, {}", number(errors, "error"), number(warnings, "warning")),
    }
}
