//! A body on its way through the gate: counted, throttled, cut short, or with one bit flipped.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use s3s::StdError;
use tokio::time::Sleep;

use super::counts::Ledger;
use super::faults::Faults;

/// Bytes that pass at once on a throttled line.
const THROTTLED_CHUNK: usize = 16 << 10;

/// How long a cut waits, so that the bytes before it reach the client.
const FLUSH: Duration = Duration::from_millis(20);

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// See the module.
pub(super) struct Metered<B> {
    pub(super) inner: B,
    pub(super) direction: Direction,
    pub(super) faults: Arc<Faults>,
    pub(super) ledger: Arc<Ledger>,
    /// Cut the body when this many bytes are through.
    pub(super) truncate: Option<u64>,
    /// Flip the lowest bit of this byte of the body.
    pub(super) flip: Option<u64>,
    pub(super) position: u64,
    pub(super) held: Bytes,
    pub(super) sleep: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<B> Metered<B> {
    pub(super) fn new(inner: B, direction: Direction, faults: Arc<Faults>, ledger: Arc<Ledger>) -> Self {
        let (truncate, flip, held, sleep) = (None, None, Bytes::new(), None);
        Metered { inner, direction, faults, ledger, truncate, flip, position: 0, held, sleep }
    }

    fn pass(&mut self, n: usize) -> Bytes {
        let mut chunk = self.held.split_to(n);
        if let Some(at) = self.flip.and_then(|flip| flip.checked_sub(self.position))
            && at < n as u64
        {
            let mut broken = BytesMut::from(&chunk[..]);
            broken[at as usize] ^= 1;
            chunk = broken.freeze();
        }
        self.position += n as u64;
        match self.direction {
            Direction::In => self.ledger.received(n as u64),
            Direction::Out => self.ledger.sent(n as u64),
        }
        chunk
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    StdError: From<B::Error>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        loop {
            if let Some((sleep, n)) = &mut this.sleep {
                ready!(sleep.as_mut().poll(cx));
                let n = *n;
                this.sleep = None;
                if n == 0 {
                    return Poll::Ready(Some(Err(io::Error::other("cut by a fault").into())));
                }
                return Poll::Ready(Some(Ok(Frame::data(this.pass(n)))));
            }
            let left = this.truncate.map(|end| end.saturating_sub(this.position));
            if left == Some(0) {
                this.sleep = Some((Box::pin(tokio::time::sleep(FLUSH)), 0));
                continue;
            }
            if this.held.is_empty() {
                match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => this.held = data,
                        Err(frame) => return Poll::Ready(Some(Ok(frame))),
                    },
                }
                continue;
            }
            let line =
                if this.direction == Direction::In { &this.faults.inbound } else { &this.faults.outbound };
            let mut n = this.held.len().min(left.map_or(usize::MAX, |left| left as usize));
            if line.limited() {
                n = n.min(THROTTLED_CHUNK);
            }
            if let Some(wait) = line.reserve(n) {
                this.sleep = Some((Box::pin(tokio::time::sleep(wait)), n));
                continue;
            }
            return Poll::Ready(Some(Ok(Frame::data(this.pass(n)))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.truncate.is_none() && self.held.is_empty() && self.sleep.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, held) = (self.inner.size_hint(), self.held.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + held);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}
