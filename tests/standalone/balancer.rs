//! Two daemons behind a load balancer, stopped and started in turn.
//!
//! What the balancer must not do is hide a lost request: it never asks a second time, and no other server.

use std::thread;

use crate::support::{Control, Daemon, Haproxy, Launch, Load, Report, Server};

/// The lines of `src/guide/behind_a_load_balancer.md`, but for the addresses and the interval.
const BACKEND: &str = "retries 0\n  no option redispatch\n  option httpchk GET /ready\n  \
                       default-server check inter 50ms fall 2 rise 1";

#[test]
fn a_rolling_restart_behind_haproxy_fails_no_request() {
    if !Haproxy::is_there() {
        return;
    }
    let reports = rolling_restart(BACKEND, "2s", 3);
    for report in reports {
        assert!(report.answers > 0 && report.failures.is_empty(), "{:#?}", report.failures);
    }
}

/// Stops and starts each of two daemons so many times, under clients that keep their connections and others that come
/// and go; answers what each of the two crowds has seen.
fn rolling_restart(backend: &str, lame_duck: &str, rounds: usize) -> [Report; 2] {
    let front = Launch::free_address();
    let instances = ["one", "two"].map(|name| Instance::new(name, lame_duck));
    let mut daemons = instances.each_ref().map(|instance| Some(instance.start()));
    let servers: String = instances.iter().map(Instance::line).collect();
    let haproxy = Haproxy::start(&format!(
        "frontend f\n  bind {front}\n  default_backend b\nbackend b\n  {backend}\n{servers}",
    ));
    for instance in &instances {
        haproxy.wait_for(instance.name, "UP");
    }
    let load = Load::on(Server::Tcp(front.parse().expect("it is an address")));
    let crowds = [load.clone(), Load { clients: 8, stay: Some(3), ..load }];
    let controls = [Control::default(), Control::default()];
    thread::scope(|scope| {
        for (crowd, control) in crowds.iter().zip(&controls) {
            scope.spawn(|| crowd.run(control));
        }
        // Also if something fails: the scope waits for them.
        let _ending = Ending(&controls);
        for _ in 0..rounds {
            for (instance, daemon) in instances.iter().zip(&mut daemons) {
                daemon.take().expect("it runs").stop().assert(0, &[]);
                haproxy.wait_for(instance.name, "DOWN");
                *daemon = Some(instance.start());
                haproxy.wait_for(instance.name, "UP");
            }
        }
    });
    controls.map(|control| control.report())
}

/// Ends the crowds when it is dropped.
struct Ending<'c>(&'c [Control]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        for control in self.0 {
            control.stop();
        }
    }
}

struct Instance {
    name: &'static str,
    public: String,
    admin: String,
    lame_duck: String,
}

impl Instance {
    fn new(name: &'static str, lame_duck: &str) -> Self {
        let [public, admin] = [Launch::free_address(), Launch::free_address()];
        Self { name, public, admin, lame_duck: lame_duck.to_owned() }
    }

    fn start(&self) -> Daemon {
        Launch::on(&self.public, &self.admin).args(["--lame-duck", &self.lame_duck]).start()
    }

    fn line(&self) -> String {
        let (address, port) = self.admin.split_once(':').expect("it has a port");
        format!("  server {} {} addr {address} port {port}\n", self.name, self.public)
    }
}
