//! What the planners are tried on: replicas written by hand, and a model that lives through random histories.

pub(crate) mod model;
