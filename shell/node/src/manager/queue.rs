//! The loop's queue of asks: bounded, and yet only as large as what waits in it. The standard library's bounded channel
//! has a place for each item from the beginning, which an idle manager would carry for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::ask::Ask;

/// Asks that may wait for the loop; further ones are refused.
const WAITING_MAX: usize = 32_768;

/// Why an ask was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Too many wait.
    Full,
    /// The loop has ended.
    Ended,
}

/// The end that asks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asks {
    sender: mpsc::Sender<Box<Ask>>,
    waiting: Arc<AtomicUsize>,
}

/// The loop's end.
pub(super) struct Asked {
    receiver: mpsc::Receiver<Box<Ask>>,
    waiting: Arc<AtomicUsize>,
}

/// An empty queue.
pub(super) fn queue() -> (Asks, Asked) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Asks { sender, waiting: Arc::clone(&waiting) }, Asked { receiver, waiting })
}

impl Asks {
    /// Puts an ask into the queue, never waiting.
    pub(super) fn put(&self, ask: Ask) -> Result<(), NotTaken> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(NotTaken::Full);
        }
        self.send(ask)
    }

    /// Puts an ask into the queue, however full it is.
    pub(super) fn put_surely(&self, ask: Ask) -> Result<(), NotTaken> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.send(ask)
    }

    fn send(&self, ask: Ask) -> Result<(), NotTaken> {
        self.sender.send(Box::new(ask)).map_err(|_| NotTaken::Ended)
    }
}

impl Asked {
    /// The next ask, if one comes in time. Its sender is the loop's own as well, so the queue never ends by itself.
    pub(super) fn next_within(&self, patience: Duration) -> Option<Ask> {
        self.receiver.recv_timeout(patience).ok().map(|ask| self.taken(ask))
    }

    /// The next ask, if there is one.
    pub(super) fn next_now(&self) -> Option<Ask> {
        self.receiver.try_recv().ok().map(|ask| self.taken(ask))
    }

    fn taken(&self, ask: Box<Ask>) -> Ask {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        *ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(number: u64) -> Ask {
        Ask::FeedClosed(skep_manager::StreamId(number))
    }

    #[test]
    fn a_full_queue_refuses_and_takes_again_once_there_is_room() {
        let (asks, asked) = queue();
        for number in 0..WAITING_MAX as u64 {
            assert_eq!(asks.put(ask(number)), Ok(()));
        }
        assert_eq!(asks.put(ask(0)), Err(NotTaken::Full));
        assert_eq!(asks.clone().put(ask(0)), Err(NotTaken::Full));
        assert_eq!(asks.put_surely(Ask::Stop), Ok(()));
        for number in 0..WAITING_MAX as u64 {
            assert!(matches!(asked.next_now(), Some(Ask::FeedClosed(stream)) if stream.0 == number));
        }
        assert!(matches!(asked.next_within(Duration::ZERO), Some(Ask::Stop)));
        assert!(asked.next_now().is_none());
        assert_eq!(asks.put(ask(7)), Ok(()));
        drop(asked);
        assert_eq!(asks.put(ask(8)), Err(NotTaken::Ended));
    }
}
