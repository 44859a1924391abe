//! Random numbers of the kernel, drawn from the seed: what is sealed is the same in two runs, byte for byte.
//!
//! age takes its keys, nonces and the stanza it greases its header with (whose length is drawn as well) from the kernel, and a generator of
//! its thread that begins there. So a simulation has a thread of its own, and in it the kernel's answer is ours ([`crate::syscalls`]). With
//! other sizes the same seed would write, tear and merge other things.

use std::cell::RefCell;
use testkit::rng::Rng;

thread_local! {
    static SOURCE: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// From now on in this thread.
pub(crate) fn begin(seed: u64) {
    SOURCE.with_borrow_mut(|source| *source = Some(Rng::of(&[seed, 0x616765])));
}

/// Fills `into`; false where nothing is simulated.
pub(crate) fn fill(into: &mut [u8]) -> bool {
    let drawn = SOURCE.try_with(|source| {
        let Ok(mut source) = source.try_borrow_mut() else { return false };
        let Some(rng) = source.as_mut() else { return false };
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
        }
        true
    });
    drawn.unwrap_or(false)
}
