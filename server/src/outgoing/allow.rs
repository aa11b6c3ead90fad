//! `RELIVE_HTTP_ALLOW`: which hosts and addresses scripts reach although they are not public.
//!
//! Owns: the list's syntax and meaning. Never does: resolve a name. An entry is `host`, `host:port`, an address (IPv6 in
//! brackets where a port follows) or a CIDR block. A host allows whatever it resolves to; an address or block
//! allows that address whatever host led to it.

use std::net::{IpAddr, SocketAddr};

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allow(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Host { host: String, port: Option<u16> },
    Block { net: IpAddr, bits: u8, port: Option<u16> },
}

impl Allow {
    /// Parses the setting; empty for nothing.
    ///
    /// # Errors
    /// The entry that is none.
    pub(crate) fn parse(text: &str) -> Result<Allow, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(|text| entry(text).ok_or_else(|| text.to_owned())).collect::<Result<_, _>>().map(Allow)
    }

    /// Whether the list allows to connect to `ip` on behalf of `host` (lower case) and `port`.
    pub(super) fn covers(&self, host: &str, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|entry| match entry {
            Entry::Host { host: allowed, port: only } => {
                allowed == host.trim_end_matches('.') && only.is_none_or(|only| only == port)
            }
            Entry::Block { net, bits, port: only } => {
                only.is_none_or(|only| only == port) && within(ip, *net, *bits)
            }
        })
    }
}

fn entry(text: &str) -> Option<Entry> {
    if let Some((net, bits)) = text.split_once('/') {
        let net: IpAddr = net.trim_matches(['[', ']']).parse().ok()?;
        let width = if net.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= width)?;
        return Some(Entry::Block { net, bits, port: None });
    }
    if let Ok(net) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(one(net, None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(one(address.ip(), Some(address.port())));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (text, None),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let valid = !host.is_empty() && host.bytes().all(name) && !host.starts_with('.');
    valid.then(|| Entry::Host { host: host.trim_end_matches('.').to_ascii_lowercase(), port })
}

fn one(net: IpAddr, port: Option<u16>) -> Entry {
    let net = net.to_canonical();
    Entry::Block { net, bits: if net.is_ipv4() { 32 } else { 128 }, port }
}

fn within(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            ip.to_bits() & mask == net.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            ip.to_bits() & mask == net.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_hosts_addresses_and_blocks() {
        for (list, host, ip, port, expected) in [
            ("", "a.test", "127.0.0.1", 80, false),
            ("a.test", "a.test", "127.0.0.1", 80, true),
            ("A.Test.", "a.test", "127.0.0.1", 80, true),
            ("a.test", "a.test.", "127.0.0.1", 80, true),
            ("a.test", "b.a.test", "127.0.0.1", 80, false),
            ("a.test:8080", "a.test", "127.0.0.1", 8080, true),
            ("a.test:8080", "a.test", "127.0.0.1", 80, false),
            ("10.0.0.0/8", "x", "10.255.0.1", 80, true),
            ("10.0.0.0/8", "x", "11.0.0.1", 80, false),
            ("0.0.0.0/0", "x", "127.0.0.1", 80, true),
            ("0.0.0.0/0", "x", "::1", 80, false),
            ("127.0.0.1", "x", "127.0.0.1", 9, true),
            ("127.0.0.1", "x", "::ffff:127.0.0.1", 9, true),
            ("127.0.0.1:9", "x", "127.0.0.1", 9, true),
            ("127.0.0.1:9", "x", "127.0.0.1", 10, false),
            ("fd00::/8, x", "y", "fd12::1", 80, true),
            ("[::1]:80", "x", "::1", 80, true),
            ("::1", "x", "::1", 81, true),
            ("localhost, 10.1.0.0/16", "localhost", "127.0.0.1", 1, true),
        ] {
            let allow = Allow::parse(list).unwrap();
            assert_eq!(allow.covers(host, ip.parse().unwrap(), port), expected, "{list}: {host} {ip} {port}");
        }
    }

    #[test]
    fn what_is_no_entry_is_named() {
        for bad in ["10.0.0.0/33", "a b", "a:0", "a:http", "http://a", "::/129", "/8", "*"] {
            assert_eq!(Allow::parse(&format!("ok.test, {bad}")), Err(bad.to_owned()));
        }
    }
}
