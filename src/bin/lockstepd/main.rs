//! The daemon: a public server, an admin server, one lifecycle.

mod arguments;
mod ask;
mod command;
mod config;
#[cfg(test)]
mod documents;
mod greeting;
mod show;
#[cfg(feature = "tls")]
mod tls;

use std::process::ExitCode;

use lockstepd::{Daemon, LogSettings, Proxy, Server};

use crate::command::Command;
use crate::config::Config;
use crate::greeting::Greeting;

fn main() -> ExitCode {
    let arguments = arguments::parse();
    let load = move || Config::load(arguments.config.as_deref(), &arguments.flags);
    match load() {
        Ok(config) => match arguments.command {
            Command::Run => {
                let proxy = config.proxy();
                let daemon = daemon(config.clone(), proxy.clone());
                daemon.on_reload(move || Ok(config.reload(load()?, proxy.as_ref()))).run()
            }
            Command::Check => {
                for file in &config.files {
                    eprintln!("read {}", file.display());
                }
                if config.files.is_empty() {
                    eprintln!("there is no configuration file");
                }
                let proxy = config.proxy();
                daemon(config, proxy).check()
            }
            Command::Config => show::show(&config),
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
    let warnings = config.warnings.iter().cloned();
    let warned = warnings.fold(Daemon::new("lockstepd"), Daemon::warning);
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
