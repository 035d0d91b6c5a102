//! The certificates and handshakes of servers with TLS, as text for Prometheus.

use std::fmt;
use std::time::UNIX_EPOCH;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::tls::acceptor::Acceptors;

pub(super) fn encode(
    acceptors: &Acceptors,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    if acceptors.is_empty() {
        return Ok(());
    }
    let help = "TLS handshakes by result";
    let mut family =
        encoder.encode_descriptor("tls_handshakes", help, None, MetricType::Counter)?;
    for (server, acceptor) in acceptors {
        for (result, count) in
            ["full", "resumed", "failed"].into_iter().zip(acceptor.handshakes.counts())
        {
            let labels = [("server", &**server), ("result", result)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    let help = "When a certificate expires";
    let seconds = Some(&Unit::Seconds);
    let name = "tls_certificate_expiry_timestamp";
    let mut family = encoder.encode_descriptor(name, help, seconds, MetricType::Gauge)?;
    for (server, acceptor) in acceptors {
        for facts in &acceptor.loaded().certificates {
            let labels = [("server", &**server), ("certificate", &*facts.file)];
            let expires = facts.expires.duration_since(UNIX_EPOCH).unwrap_or_default();
            family.encode_family(&labels)?.encode_gauge(&expires.as_secs_f64())?;
        }
    }
    Ok(())
}
