//! Accepting connections: HTTP/1.1, keep-alive, no delay, a bound on slow headers, an orderly end.
//!
//! Owns: the accept loop of a listener and its connections. Never does: look at a request.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::head_timer::HeadTimer;

/// How long the head of a request may take to arrive, idle time between requests included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after the system had no connection to give (out of descriptors, for one).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Says when to stop, and counts who has not.
#[derive(Clone)]
pub(crate) struct Stop {
    signal: watch::Sender<bool>,
    open: Arc<AtomicUsize>,
}

impl Stop {
    /// Not yet.
    pub(crate) fn new() -> Stop {
        Stop { signal: watch::Sender::new(false), open: Arc::new(AtomicUsize::new(0)) }
    }

    /// No new connections; those that are there end with the request that they are at.
    pub(crate) fn stop(&self) {
        let _before = self.signal.send_replace(true);
    }

    /// Connections that are still there.
    pub(crate) fn connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Returns once it is told to stop.
    pub(crate) async fn stopped(&self) {
        let mut signal = self.signal.subscribe();
        // An error says that the sender is gone, which is a stop too.
        let _stopped = signal.wait_for(|stop| *stop).await;
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Counted {
        open.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A bound socket.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Binds.
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address })
    }
}

/// Serves a listener until it is told to stop.
pub(crate) async fn serve<A, F>(listener: Listener, stop: Stop, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let mut stopped = pin!(stop.stopped());
    loop {
        let accepted = tokio::select! {
            () = &mut stopped => return,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let counted = Counted::new(&stop.open);
                tokio::spawn(connection(stream, stop.clone(), answer.clone(), counted));
            }
            Err(error) => {
                tracing::debug!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<A, F>(stream: TcpStream, stop: Stop, answer: A, _counted: Counted)
where
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(HeadTimer::default()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended early");
    }
}
