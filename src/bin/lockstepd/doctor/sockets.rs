//! The socket units of a service, and the names of the sockets that they pass.

use super::findings::Findings;
use super::search_path::SearchPath;
use super::unit_file::Unit;
use crate::config::{Config, Settings};

/// Looks at the socket units of a service; answers the names of the sockets that it is passed.
pub(super) fn check(
    service: &Unit,
    path: &SearchPath,
    config: Option<&Config>,
    findings: &mut Findings,
) -> Vec<String> {
    let own = format!("{}.socket", service.name.trim_end_matches(".service"));
    let listed = service.all("Service", "Sockets").into_iter();
    let listed = listed.flat_map(|line| {
        service.expanded(&line.value).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    let mut units: Vec<_> = listed.collect();
    let is_listed = units.contains(&own);
    let mut names = Vec::new();
    if !is_listed {
        units.push(own.clone());
    }
    for unit in units {
        match path.read(&unit) {
            // Whoever masks one wants none.
            Ok(Some(socket)) if socket.is_masked => {}
            Ok(Some(socket)) => {
                if !is_listed && unit == own {
                    findings.warning(format!(
                        "{}: starting the service alone does not open {own} (set Sockets={own})",
                        service.name
                    ));
                }
                names.push(check_one(&socket, service, config, findings));
            }
            Ok(None) if unit == own && !is_listed => {}
            Ok(None) => findings.error(format!(
                "{}: Sockets= names {unit}, and there is no such unit in {}",
                service.name,
                path.shown()
            )),
            Err(error) => findings.error(format!("{unit}: cannot read its files: {error}")),
        }
    }
    if let Some(config) = config {
        check_configured(service, config, &names, findings);
    }
    names
}

/// Finds addresses that are configured in vain, since systemd opens the sockets.
fn check_configured(service: &Unit, config: &Config, names: &[String], findings: &mut Findings) {
    for (server, key) in
        [("public", "public.listen"), ("admin", "admin.listen"), ("public-tls", "tls.listen")]
    {
        let is_passed = names.iter().any(|name| name == server);
        let chosen =
            Settings::table().find(|it| it.key == key).and_then(|it| config.settings.chosen(it));
        let Some(chosen) = chosen.filter(|chosen| is_passed && chosen.value != "[]") else {
            continue;
        };
        findings.warning(format!(
            "{}: {key} has no effect, as a socket unit has \"{server}\" ({}; the port is ListenStream= there)",
            service.name, chosen.origin
        ));
    }
}

/// Whoever reaches the admin server can stop the daemon.
fn check_admin(socket: &Unit, findings: &mut Findings) {
    for line in socket.all("Socket", "ListenStream") {
        let address = socket.expanded(&line.value);
        let is_near = ["/", "@", "127.", "[::1]"].iter().any(|near| address.starts_with(near));
        if !is_near {
            findings.warning(format!(
                "{}: ListenStream={address} lets other machines reach the admin server, and whoever reaches it can stop \
                 the daemon (write 127.0.0.1:PORT, or the path of a Unix socket)",
                line.place()
            ));
        }
    }
}

/// Looks at one socket unit; answers the name of its sockets.
fn check_one(
    socket: &Unit,
    service: &Unit,
    config: Option<&Config>,
    findings: &mut Findings,
) -> String {
    let unit = &socket.name;
    let belongs_to = socket.last("Socket", "Service").map_or_else(
        || format!("{}.service", unit.trim_end_matches(".socket")),
        |assignment| socket.expanded(&assignment.value),
    );
    if belongs_to != service.name {
        findings.error(format!("{unit}: it is for {belongs_to} (set Service={})", service.name));
    }
    if let Some(accept) = socket.last("Socket", "Accept").filter(|accept| accept.value == "yes") {
        findings.error(format!(
            "{}: Accept=yes starts a process for each client (take it away)",
            accept.place()
        ));
    }
    let named = socket.last("Socket", "FileDescriptorName");
    let name = named.map_or_else(|| unit.clone(), |name| socket.expanded(&name.value));
    if name == "admin" {
        check_admin(socket, findings);
    }
    let Some(config) = config else { return name };
    let servers: Vec<_> = config.servers().into_iter().map(|(server, _)| server).collect();
    if !servers.contains(&name.as_str()) {
        let place = named.map_or_else(|| unit.clone(), super::unit_file::Assignment::place);
        findings.error(format!(
            "{place}: FileDescriptorName= is {name}, and no server has that name: they are {} (the service ends with \
             78)",
            servers.join(", ")
        ));
    }
    name
}
