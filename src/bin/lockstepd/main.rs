//! The daemon: a public server, an admin server, one lifecycle.

mod arguments;
mod ask;
mod command;
mod config;
mod greeting;
#[cfg(feature = "tls")]
mod tls;

use std::process::ExitCode;

use lockstepd::{Daemon, LogSettings, Proxy, Server};

use crate::command::Command;
use crate::config::Config;
use crate::greeting::Greeting;

fn main() -> ExitCode {
    let arguments = arguments::parse();
    let load = move || Config::load(arguments.config.as_deref(), &arguments.settings);
    match load() {
        Ok(config) => match arguments.command {
            Command::Run => {
                let proxy = config.proxy.proxy();
                let daemon = daemon(config.clone(), proxy.clone());
                daemon.on_reload(move || Ok(config.reload(load()?, proxy.as_ref()))).run()
            }
            Command::Check => {
                match &config.file {
                    Some(file) => eprintln!("read {}", file.display()),
                    None => eprintln!("there is no configuration file"),
                }
                let proxy = config.proxy.proxy();
                daemon(config, proxy).check()
            }
            Command::Hold(hold) => ask::hold(&config.admin_address, &hold),
            Command::Release(release) => ask::release(&config.admin_address, &release),
        },
        Err(error) => error.report(),
    }
}

fn daemon(config: Config, proxy: Option<Proxy>) -> Daemon {
    let mut log = LogSettings::default();
    log.level = config.log_level.clone();
    log.target = config.log_target;
    log.format = config.log_format;
    let unknown = |name| format!("{name} is no setting, and has no effect (see --help)");
    let daemon = Daemon::new("lockstepd");
    let warned = config.unknown.iter().map(unknown).fold(daemon, Daemon::warning);
    let public = match proxy {
        Some(proxy) => Server::hyper("public", config.public.clone(), proxy),
        None => Server::hyper("public", config.public.clone(), Greeting),
    };
    #[cfg(feature = "tls")]
    let (public, warned) = (tls::secured(public, &config), tls::others(warned, &config));
    warned
        .add_server(public)
        .log(log)
        .access_log(config.access_log)
        .limits(config.limits)
        .lame_duck(config.lame_duck)
        .drain_timeout(config.drain_timeout)
        .linger(config.linger)
        .hand_over(config.hand_over)
        .idle_exit(config.idle_exit)
        .admin(config.admin)
        .admin_hosts(config.admin_hosts)
        .admin_users(config.admin_users)
}
