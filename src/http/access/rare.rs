//! What few requests have to be remembered.

use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use crate::http::refusal::Refusal;
use crate::log::file::FileLog;

/// What a line of a file has besides, or what is known of requests that are not served as others are.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) file: Option<Arc<FileLog>>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    /// What CONNECT has for a path.
    pub(super) authority: Option<Authority>,
    pub(super) refusal: Option<Refusal>,
}

// === impl Rare ===

impl Rare {
    /// Remembers what a file's line has besides.
    #[inline(never)]
    pub(super) fn for_file(file: &Arc<FileLog>, headers: &HeaderMap) -> Self {
        let mut rare = Self { file: Some(Arc::clone(file)), ..Self::default() };
        // A look-up would hash the name. Of several the first counts.
        for (name, value) in headers {
            if *name == USER_AGENT {
                rare.user_agent.get_or_insert_with(|| value.clone());
            } else if *name == REFERER {
                rare.referer.get_or_insert_with(|| value.clone());
            }
        }
        rare
    }
}
