//! Pages for readers; there is nothing here for a program.

#[doc = include_str!("applications.md")]
pub mod applications {}

#[doc = include_str!("behind_a_load_balancer.md")]
pub mod behind_a_load_balancer {}

#[doc = include_str!("from_axum_serve.md")]
pub mod from_axum_serve {}

#[doc = include_str!("why_not.md")]
pub mod why_not {}
