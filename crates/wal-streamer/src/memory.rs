//! Memory that many starts have used and freed goes back to the system (P7).
//!
//! glibc keeps what was freed in the arenas of its threads: after a thousand starts that is a third of the process. Other allocators,
//! such as musl's in the images, give back by themselves.

/// To be called before there is a second thread: glibc would give most of hundreds of threads a heap of its own, each with its own holes.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the call of the C library has no safe wrapper")]
pub(crate) fn few_heaps() {
    // SAFETY: takes two numbers; an answer of 0 means that it stays as it is.
    unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 2) };
}

/// One heap is all there is.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn few_heaps() {}

/// Gives back what is free.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the call of the C library has no safe wrapper")]
pub(crate) fn give_back() {
    // SAFETY: takes no pointer and may be called at any time from any thread.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Gives back what is free.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}
