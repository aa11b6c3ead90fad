//! From a host to a connection: resolve, check every address, connect to exactly what was checked (W1).
//!
//! Owns: [`Guarded`], the connector of the client, and the resolver's seam. Never does: speak HTTP or TLS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::{Host, Url};

use super::address::not_public;
use super::allow::Allow;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Turns names into addresses.
pub(super) trait Resolve: Send + Sync {
    /// All addresses of a name.
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>>;
}

/// The system's.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> Boxed<io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A connector that reaches public addresses, and those that the list allows.
#[derive(Clone)]
pub(super) struct Guarded {
    allow: Arc<Allow>,
    resolver: Arc<dyn Resolve>,
}

impl Guarded {
    pub(super) fn new(allow: Allow, resolver: Arc<dyn Resolve>) -> Guarded {
        Guarded { allow: Arc::new(allow), resolver }
    }

    /// Judges a URL without connecting.
    pub(super) async fn check(&self, url: &Url) -> Result<(), String> {
        let port = url.port_or_known_default().unwrap_or(0);
        let host = url.host_str().unwrap_or_default();
        self.addresses(host, port).await.map(drop)
    }

    /// The addresses that may be connected to for this host: at least one.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let host = host.to_ascii_lowercase();
        // The URL's parser wrote every spelling of an address (octal, one number, mapped) in its one form.
        let literal = match Host::parse(&host) {
            Ok(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Ok(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Ok(Host::Domain(_)) => None,
            Err(why) => return Err(format!("`{host}` is no host: {why}")),
        };
        let found = match literal {
            Some(ip) => vec![ip],
            None => self
                .resolver
                .resolve(host.clone())
                .await
                .map_err(|why| format!("`{host}` could not be resolved: {why}"))?,
        };
        let refusal = |ip: &IpAddr| {
            let refused = not_public(*ip).filter(|_| !self.allow.covers(&host, *ip, port));
            refused.map(|kind| format!("`{host}` is {kind}; RELIVE_HTTP_ALLOW can allow it"))
        };
        let good: Vec<SocketAddr> =
            found.iter().filter(|ip| refusal(ip).is_none()).map(|ip| SocketAddr::new(*ip, port)).collect();
        if good.is_empty() {
            let why = found.iter().find_map(refusal);
            return Err(why.unwrap_or_else(|| format!("`{host}` has no address")));
        }
        Ok(good)
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = uri.host().unwrap_or_default().to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = self.addresses(&host, port).await.map_err(io::Error::other)?;
        let mut last = io::Error::other(format!("`{host}` has no address"));
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Err(why) => last = io::Error::other(format!("no connection to `{host}`: {why}")),
            }
        }
        Err(last)
    }
}

impl tower_service::Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Boxed<io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
