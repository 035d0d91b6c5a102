//! How many requests a server answers over TLS in a second of its processor.

use std::time::Duration;

use super::{Program, Speaker};
use crate::{
    Setting,
    support::Trouble,
    table::{Row, Samples, Target},
    wrk::{Way, load},
};

/// All servers stay up, and take turns.
pub(crate) fn keep_alive(setting: &Setting) -> Result<Vec<Row<Speaker>>, Trouble> {
    let start = |program: &Program| {
        let server = program.start()?;
        // Memory is fetched and grown before it counts.
        load(Way::Secured, server.port, Duration::from_secs(1), || server.time())?;
        Ok((program.speaker, server, Samples::default()))
    };
    let mut servers: Vec<_> = setting.speakers.iter().map(start).collect::<Result<_, Trouble>>()?;
    for _ in 0..setting.rounds {
        for (speaker, server, samples) in &mut servers {
            samples.attempt(*speaker, || {
                let answered = load(Way::Secured, server.port, setting.duration, || server.time());
                Ok(answered?.per_second())
            });
        }
    }
    let columns = servers.into_iter().map(|(speaker, _, samples)| (speaker, samples)).collect();
    let row = Row::new("requests per CPU-second, 64 kept connections with TLS", columns);
    Ok(vec![row.against(Speaker::Nginx, Target::AtLeast(1.0))])
}
