//! A secrets plugin that a test serves: HTTP on a Unix socket, a thread for each connection.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

/// How often a connection that says nothing looks whether the plugin has ended.
const LOOK: Duration = Duration::from_millis(20);

type Answers = Box<dyn Fn(&Value) -> Value + Send>;

struct Shared {
    answers: Mutex<Answers>,
    asked: Mutex<Vec<Value>>,
    activated: Mutex<usize>,
    has_ended: AtomicBool,
}

/// Served until it is dropped; the socket goes with it.
pub struct Plugin {
    socket: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// An answer with a value.
pub fn value(text: &str) -> Value {
    json!({ "Value": base64(text.as_bytes()) })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let number = group.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit = |place: usize| DIGITS[(number >> (18 - 6 * place)) as usize & 63] as char;
        (0..4).map(|place| if place <= group.len() { digit(place) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

impl Plugin {
    /// `answers` says what is answered to `/SecretProvider.GetSecret`.
    pub fn serve(socket: &Path, answers: impl Fn(&Value) -> Value + Send + 'static) -> Self {
        std::fs::create_dir_all(socket.parent().expect("a directory")).expect("a directory");
        let listener = UnixListener::bind(socket).expect("a socket");
        let shared = Arc::new(Shared {
            answers: Mutex::new(Box::new(answers)),
            asked: Mutex::default(),
            activated: Mutex::default(),
            has_ended: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.has_ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                    std::thread::spawn(move || shared.converse(stream));
                }
            }
        });
        Self { socket: socket.to_owned(), shared, thread: Some(thread) }
    }

    /// From now on it answers so.
    pub fn answer(&self, answers: impl Fn(&Value) -> Value + Send + 'static) {
        *lock(&self.shared.answers) = Box::new(answers);
    }

    /// What it was asked, oldest first.
    pub fn asked(&self) -> Vec<Value> {
        lock(&self.shared.asked).clone()
    }

    /// How often it was activated.
    pub fn activated(&self) -> usize {
        *lock(&self.shared.activated)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        // Wakes who waits for connections.
        let woken = UnixStream::connect(&self.socket).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            thread.join().ok();
        }
        std::fs::remove_file(&self.socket).ok();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Request after request, until either end has had enough.
    fn converse(&self, mut stream: UnixStream) {
        stream.set_read_timeout(Some(LOOK)).expect("a timeout");
        let mut received = Vec::new();
        while !self.has_ended.load(Ordering::SeqCst) {
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => return,
                Ok(count) => received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            }
            let Some((path, body)) = request(&mut received) else { continue };
            let answer = self.answered(&path, &body).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            if stream.write_all((head + &answer).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answered(&self, path: &str, body: &[u8]) -> Value {
        if path == "/Plugin.Activate" {
            *lock(&self.activated) += 1;
            return json!({ "Implements": ["secretprovider"] });
        }
        assert_eq!(path, "/SecretProvider.GetSecret");
        let question: Value = serde_json::from_slice(body).expect("JSON");
        lock(&self.asked).push(question.clone());
        lock(&self.answers)(&question)
    }
}

/// Takes the first request off what was received, if it is whole.
fn request(received: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
    let length = head.lines().find_map(length).unwrap_or(0);
    let body = received.get(end..end + length)?.to_vec();
    received.drain(..end + length);
    Some((head.split(' ').nth(1)?.to_owned(), body))
}
