//! Restoring in one process over a store in memory: the start of a pod, damage, rehearsals, standbys, old generations.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

mod damage;
mod init;
mod rehearse;
mod scene;
mod standby;
mod v03;
