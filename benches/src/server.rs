//! A server with a thread for each connection.

use std::io::Result;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use pipe_tests::server::loopback;

/// The server; it listens until this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Has each connection served by `serve`, which returns when the other side
    /// closes it; what goes wrong before that, the client sees.
    pub(crate) fn start(
        serve: impl Fn(&TcpStream) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((loopback(), 0))?;
        let address = listener.local_addr()?;
        let serve = Arc::new(serve);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let accept = move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(&stream?));
            }
        };
        Ok(Self {
            address,
            stopping,
            thread: Some(thread::spawn(accept)),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes up accept().
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}
