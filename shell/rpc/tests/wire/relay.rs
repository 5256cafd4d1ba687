//! A cable that can be cut: bytes pass between two TCP connections until it is.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes connections on to one address.
pub struct Relay {
    pub address: String,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let target = target.to_owned();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let target = target.clone();
                open.spawn(async move {
                    let mut far = TcpStream::connect(&target).await.expect("the target listens");
                    // How it ends is what the test looks at.
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
        Self { address, task }
    }

    /// Ends every connection without a farewell, and listens no more: what a killed process leaves.
    pub fn cut(&self) {
        self.task.abort();
    }
}
