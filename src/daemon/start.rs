//! The start: sockets and connections from the process before or from systemd, then running members.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::connections::limits::Limits;
use crate::connections::metrics::Reloads;
use crate::connections::overview::ServerOverview;
use crate::connections::parked::Idle;
use crate::daemon::access_file::OpenAccessFile;
#[cfg(feature = "admin")]
use crate::daemon::admin_server::Shown;
#[cfg(feature = "proxy")]
use crate::daemon::applications::proxies;
use crate::daemon::builder::Daemon;
use crate::daemon::error::Error;
use crate::daemon::running::{Process, Running};
use crate::daemon::server::{Own, Server};
use crate::daemon::take_over::{Surplus, TakenOver, take_over};
#[cfg(feature = "tls")]
use crate::daemon::tls::with_secured;
use crate::handover::announcement::{AnnouncedListener, Announcement};
use crate::handover::assignment::{Received, SocketsError};
use crate::handover::carrier::CARRIER_VERSION;
use crate::http::connection::HttpSettings;
use crate::http::server::{self, Failure, Serve};
use crate::lifecycle::group::Group;
use crate::lifecycle::settings::{LiveSettings, Settings};
use crate::lifecycle::shutdown::Shutdown;
use crate::manager::notify::Notifier;
use crate::manager::store_names::{FILE_NAME, LISTENER_PREFIX};
use crate::sockets::bind::Binder;
use crate::sockets::inherit::Inherited;
use crate::sockets::listen::Listen;
use crate::sockets::listener::{Bound, ListenError, Listener, Origin};
use crate::sockets::socket_file::SocketFiles;

/// Starts every member of `daemon`; has to be called inside the runtime.
///
/// # Errors
/// When a server cannot have its sockets, or the shutdown is triggered while one waits for them.
pub(crate) async fn start(
    mut daemon: Daemon,
    inherited: Inherited,
    process: Process,
) -> Result<Running, Error> {
    daemon.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut received = Received::sort(inherited.descriptors, inherited.misdirected)?;
    listen(&mut daemon).await?;
    let plan = Plan::of(&daemon)?;
    // Before connections are taken over: if the file or a certificate cannot be used, the next start finds them.
    let access_file = OpenAccessFile::of(&daemon)?;
    #[cfg(feature = "tls")]
    let acceptors = daemon.acceptors()?;
    let (taken_over, (sockets, files)) =
        take_and_bind(&mut received, inherited.carrier.as_ref(), &plan, &process.notifier).await?;
    drop(plan);
    #[cfg(feature = "tls")]
    daemon.set_acceptors(&acceptors, taken_over.ticket_keys);

    let settings = live_settings(&daemon);
    let http_settings = Arc::new(HttpSettings::new(daemon.logged(), daemon.limits));
    let access_file = access_file.give(&http_settings)?;
    let mut group = Group::new(daemon.shutdown.clone());
    let (reloads, reload_request) = (Arc::<Reloads>::default(), Arc::<Notify>::default());
    #[cfg(feature = "proxy")]
    let proxies = proxies(&daemon.servers, taken_over.doors);
    #[cfg(all(feature = "admin", feature = "proxy"))]
    let applications: Vec<_> = daemon.servers.iter().filter_map(Server::application).collect();
    let mut sockets = sockets.into_iter();
    let Spawned { servers, own, views } =
        spawn(daemon.servers, &mut sockets, &http_settings, &mut group)?;
    let has_tasks = !daemon.tasks.is_empty();
    let mut running = Running {
        group,
        has_tasks,
        servers,
        own,
        admin: None,
        phases: daemon.monitor.phases,
        addresses: String::new(),
        trouble: None,
        announcement: Announcement::default(),
        files,
        is_socket_activated: false,
        reloads,
        history: taken_over.history,
        http_settings,
        access_file,
        process,
        shutdown: daemon.shutdown,
        checks: daemon.checks,
        latches: daemon.monitor.latches,
        #[cfg(feature = "proxy")]
        proxies,
        reload: daemon.reload,
        reload_request,
        settings,
        #[cfg(feature = "tls")]
        acceptors,
    };
    #[cfg(not(feature = "admin"))]
    let (views, _) = (views, taken_over.hand_over);
    #[cfg(feature = "admin")]
    let views = if daemon.admin.listen.is_some() {
        let shown = Shown {
            name: daemon.name,
            views,
            hand_over: taken_over.hand_over,
            #[cfg(feature = "proxy")]
            applications,
        };
        running.start_admin(daemon.admin, shown, &mut sockets)?
    } else {
        views
    };
    running.shows(&views);
    // Never set before: a daemon starts once.
    let _ = daemon.monitor.bound.set(views.iter().map(ServerOverview::bound).collect());
    let servers = running.servers.iter().chain(&running.admin);
    open_connections(taken_over.connections, &taken_over.surplus, &servers);
    for plan in daemon.tasks {
        running.group.spawn(plan.name, (plan.start)(running.shutdown.clone()));
    }
    running.open_tunnels(taken_over.tunnels);
    running.apply_limits();
    Ok(running)
}

impl Running {
    /// Says what servers and sockets there are.
    fn shows(&mut self, servers: &[ServerOverview]) {
        self.addresses = addresses(servers);
        self.announcement = announcement(servers);
        self.is_socket_activated = servers.iter().all(ServerOverview::is_socket_activated);
    }
}

/// The program's servers, which run.
#[derive(Default)]
struct Spawned {
    servers: Vec<Arc<dyn Serve>>,
    own: Vec<Own>,
    views: Vec<ServerOverview>,
}

fn spawn(
    plans: Vec<Server>,
    sockets: &mut impl Iterator<Item = Vec<Bound>>,
    http_settings: &Arc<HttpSettings>,
    group: &mut Group,
) -> Result<Spawned, Error> {
    let mut spawned = Spawned::default();
    for mut plan in plans {
        let name = plan.name.clone();
        let own_listeners = std::mem::take(&mut plan.own_listeners);
        #[cfg(feature = "tls")]
        let is_secured = plan.tls.is_some();
        let (server, particular) = plan.build(http_settings);
        server.registry().set_tcp(server.http_settings().limits().tcp_options());
        spawned.own.push(particular);
        let listeners = register(sockets.next())?;
        #[cfg(feature = "tls")]
        let listeners = with_secured(listeners, is_secured, sockets)?;
        let view = ServerOverview::new(server.registry(), &listeners, own_listeners.len());
        spawned.views.push(view);
        // The sender is dropped: only the admin server can be asked to fail.
        let (_, failures) = Failure::channel();
        group.spawn(name, server::run(Arc::clone(&server), listeners, own_listeners, failures));
        spawned.servers.push(server);
    }
    Ok(spawned)
}

/// Has the program's own listeners listen. Before connections are taken over: if it fails, the next start finds them.
async fn listen(daemon: &mut Daemon) -> Result<(), Error> {
    // A fault of the configuration is told first.
    daemon.listens()?;
    let Daemon { servers, shutdown, .. } = daemon;
    for server in servers {
        for listener in &mut server.own_listeners {
            let listening = tokio::select! {
                listening = listener.listen() => listening,
                () = shutdown.triggered() => Err(io::ErrorKind::Interrupted.into()),
            };
            let server = server.name.clone();
            let refused = |source| SocketsError::Listen(ListenError::Own { server, source });
            listening.map_err(refused)?;
        }
    }
    Ok(())
}

fn live_settings(daemon: &Daemon) -> LiveSettings {
    LiveSettings::new(Settings {
        lame_duck: daemon.lame_duck,
        drain_timeout: daemon.drain_timeout,
        linger: daemon.linger.unwrap_or(Daemon::LINGER),
        hand_over: daemon.hand_over,
        idle_exit: daemon.idle_exit,
    })
}

/// What is known of the servers before they are built. Of the daemon it borrows only what may be shared between
/// threads, so that a start can be awaited in a task.
struct Plan<'d> {
    /// The admin server is the last.
    servers: Vec<(&'d str, &'d Listen)>,
    /// The limits of each server that is the program's, with its name.
    limits: Vec<(&'d str, &'d Limits)>,
    daemons: &'d Limits,
    shutdown: Shutdown,
}

// === impl Plan ===

impl<'d> Plan<'d> {
    fn of(daemon: &'d Daemon) -> Result<Self, Error> {
        let own = |server: &'d Server| server.own_limits().unwrap_or(&daemon.limits);
        let limits = daemon.servers.iter().map(|server| (&*server.name, own(server)));
        Ok(Self {
            servers: daemon.listens()?,
            limits: limits.collect(),
            daemons: &daemon.limits,
            shutdown: daemon.shutdown(),
        })
    }

    /// Answers how many connections a server may have, by its name. That of each is found out once: it is asked for with
    /// each connection that is taken over.
    fn connection_limits(&self, listeners: usize) -> impl Fn(&str) -> usize {
        let count = self.limits.len();
        let own = self
            .limits
            .iter()
            .map(|(server, limits)| (*server, limits.public_connections_now(count, listeners)));
        let (own, admin) = (own.collect::<Vec<_>>(), self.daemons.admin_connections());
        move |name| {
            let own = own.iter().find(|(server, _)| *server == name);
            own.map_or(admin, |(_, limit)| *limit)
        }
    }
}

/// Takes over the connections and listeners of the process before this one, and binds the sockets that are missing.
async fn take_and_bind(
    received: &mut Received,
    upgrade: Option<&OwnedFd>,
    plan: &Plan<'_>,
    notifier: &Notifier,
) -> Result<(TakenOver, (Vec<Vec<Bound>>, SocketFiles)), Error> {
    let limit = plan.connection_limits(received.descriptors());
    if upgrade.is_some() {
        // The listeners come with the connections.
        let taken_over = take_over(received, upgrade, notifier, &limit)?;
        return Ok((taken_over, sockets(received, plan, notifier).await?));
    }
    // Connections stay in the service manager's store while addresses are waited for: if this start fails or is
    // stopped, the next one still finds them there.
    let sockets = sockets(received, plan, notifier).await?;
    Ok((take_over(received, None, notifier, &limit)?, sockets))
}

/// The sockets of each server, once all are bound, and their files, which are removed if the start fails later.
async fn sockets(
    received: &mut Received,
    plan: &Plan<'_>,
    notifier: &Notifier,
) -> Result<(Vec<Vec<Bound>>, SocketFiles), Error> {
    let binder = Binder::new(notifier, plan.shutdown.clone());
    let sockets = received.distribute(&plan.servers, &binder).await?;
    let files = sockets.iter().flatten().filter_map(|bound| bound.file.clone()).collect();
    let files = SocketFiles::new(files);
    store(&plan.servers, &sockets, notifier);
    Ok((sockets, files))
}

/// Puts the listeners that this process has bound into the service manager's store: they outlive it, with
/// the clients in their queues. The files of Unix sockets come first: the next process binds a listener anew if it
/// does not find the file.
fn store(servers: &[(&str, &Listen)], sockets: &[Vec<Bound>], notifier: &Notifier) {
    if notifier.store_size() == Some(0) {
        return;
    }
    // What is in the store under these names may be of an earlier configuration.
    notifier.unstore(FILE_NAME);
    for file in sockets.iter().flatten().filter_map(|bound| bound.file.as_ref()) {
        if let Err(error) = notifier.store(FILE_NAME, file.as_fd()) {
            tracing::warn!(%error, "cannot keep a socket file in the service manager's store");
        }
    }
    for ((server, _), sockets) in servers.iter().zip(sockets) {
        let name = format!("{LISTENER_PREFIX}{server}");
        notifier.unstore(&name);
        for bound in sockets.iter().filter(|bound| bound.origin == Origin::Ourselves) {
            if let Err(error) = notifier.store(&name, bound.as_fd()) {
                tracing::warn!(
                    server,
                    %error,
                    "cannot keep a listener in the service manager's store"
                );
            }
        }
    }
}

pub(crate) fn register(sockets: Option<Vec<Bound>>) -> Result<Vec<Listener>, Error> {
    let sockets = sockets.expect("sockets are distributed to every server");
    let listeners: Result<_, _> = sockets.into_iter().map(Bound::register).collect();
    Ok(listeners.map_err(SocketsError::Listen)?)
}

/// Gives the connections that were taken over to the servers of their names, the longest idle first, and logs
/// how many have been left out.
fn open_connections<'s>(
    connections: Vec<(String, Idle)>,
    surplus: &Surplus,
    servers: &(impl Iterator<Item = &'s Arc<dyn Serve>> + Clone),
) {
    for (name, count) in surplus {
        if let Some(server) = servers.clone().find(|server| server.registry().server() == name) {
            server.registry().metrics.evicted.add(*count as u64);
        }
        tracing::warn!(
            server = name,
            connections = count,
            "closed the connections that had been idle longest: the process before this one had more \
             than there may be now (raise max_connections, or LimitNOFILE= in the unit)",
        );
    }
    let mut orphans = 0;
    for (name, idle) in connections.into_iter().rev() {
        match servers.clone().find(|server| server.registry().server() == name) {
            Some(server) => {
                server.registry().metrics.taken_over.add(1);
                idle.stream.renew_options(server.registry().tcp());
                server.take_over(idle);
            }
            None => orphans += 1,
        }
    }
    if orphans > 0 {
        tracing::warn!(connections = orphans, "closed connections of servers that no longer exist",);
    }
}

/// The listeners that an upgrade in place would hand over.
fn announcement(servers: &[ServerOverview]) -> Announcement {
    let listeners = servers.iter().flat_map(|view| {
        view.sockets.iter().map(|socket| AnnouncedListener {
            server: socket.server_name(view.registry.server()),
            managers: socket.is_from_manager(),
            address: socket.address.clone(),
        })
    });
    Announcement { carrier: CARRIER_VERSION, listeners: listeners.collect() }
}

/// `public on 0.0.0.0:9090, admin on 127.0.0.1:9091`, as STATUS and log show it.
fn addresses(servers: &[ServerOverview]) -> String {
    let server = |server: &ServerOverview| {
        let sockets = server.sockets.iter().map(ToString::to_string);
        let own = (server.own_listeners > 0).then(|| "its own listener".to_owned());
        let all: Vec<_> = sockets.chain(own).collect();
        format!("{} on {}", server.registry.server(), all.join(" and "))
    };
    servers.iter().map(server).collect::<Vec<_>>().join(", ")
}
