//! sqlite-replica.
