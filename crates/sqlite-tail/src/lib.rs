//! sqlite-tail.
