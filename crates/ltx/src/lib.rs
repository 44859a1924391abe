//! ltx.
