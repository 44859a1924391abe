//! What every store must do. Cases work below prefixes of their own and may run in any order.

mod bodies;
mod commits;
mod listing;
mod objects;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use std::io;
use store::Store;

/// The whole suite.
pub(crate) async fn all(store: &Store) {
    objects::create_and_overwrite(store).await;
    objects::absence_is_proven(store).await;
    objects::metadata_and_times(store).await;
    objects::keys_that_need_escaping(store).await;
    objects::removal(store).await;
    objects::scopes(store).await;
    bodies::ranges(store).await;
    bodies::empty_objects(store).await;
    bodies::streams(store).await;
    bodies::a_failing_stream_leaves_nothing(store).await;
    listing::order_prefix_and_start(store).await;
    listing::more_than_a_page(store).await;
    commits::commit_repeat_fence(store).await;
    commits::streamed_commits(store).await;
    commits::of_many_writers_one_wins(store).await;
}

/// Bytes that differ everywhere and compress badly.
pub(crate) fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    Bytes::from(out)
}

/// A body as a stream of odd pieces.
pub(crate) fn pieces(body: &Bytes) -> BoxStream<'static, io::Result<Bytes>> {
    let chunks: Vec<_> = body.chunks(100_003).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    stream::iter(chunks).boxed()
}
