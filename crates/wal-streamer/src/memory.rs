//! Memory that many starts have used and freed goes back to the system (P7).
//!
//! glibc keeps what was freed in the arenas of its threads: after a thousand starts that is a third of the process. Other allocators,
//! such as musl's in the images, give back by themselves.

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
