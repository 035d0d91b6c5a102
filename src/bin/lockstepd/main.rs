//! The daemon: a public server, an admin server, one lifecycle.

mod arguments;
mod ask;
mod command;
mod config;
mod doctor;
#[cfg(test)]
mod documents;
mod greeting;
mod show;
#[cfg(feature = "tls")]
mod tls;

use std::process::ExitCode;

use lockstepd::{Daemon, Error, LogSettings, Proxy, Server};

use crate::command::Command;
use crate::config::{Config, Environment};
use crate::greeting::Greeting;

fn main() -> ExitCode {
    let arguments = arguments::parse();
    let environment = Environment::of_this_process();
    let load = move || Config::load(&environment, arguments.config.as_deref(), &arguments.flags);
    match arguments.command {
        Command::Run => run(load),
        Command::Check => with(load, check),
        Command::Config => with(load, |config| show::show(&config)),
        Command::Doctor(doctor) => doctor::examine(&doctor),
        Command::Hold(hold) => with(load, |config| ask::hold(&config.admin_address, &hold)),
        Command::Release(release) => {
            with(load, |config| ask::release(&config.admin_address, &release))
        }
    }
}

/// Does something with the configuration, or reports why there is none.
fn with(
    load: impl Fn() -> Result<Config, Error>,
    then: impl FnOnce(Config) -> ExitCode,
) -> ExitCode {
    load().map_or_else(|error| error.report(), then)
}

fn run(load: impl Fn() -> Result<Config, Error> + Send + Sync + 'static) -> ExitCode {
    match load() {
        Ok(config) => {
            let proxy = config.proxy();
            let daemon = daemon(config.clone(), proxy.clone());
            daemon.on_reload(move || Ok(config.reload(load()?, proxy.as_ref()))).run()
        }
        Err(error) => error.report(),
    }
}

fn check(config: Config) -> ExitCode {
    for file in &config.files {
        eprintln!("read {}", file.display());
    }
    if config.files.is_empty() {
        eprintln!("there is no configuration file");
    }
    let proxy = config.proxy();
    daemon(config, proxy).check()
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
        .access_file(config.access_file)
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
