//! Redirects: what the next request is, if there is one (RFC 9110, 15.4).
//!
//! Owns: the next method, URL, headers and body. Never does: send, or judge where it leads (the connector does, W2).
//! Invariants: W4.

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, PROXY_AUTHORIZATION};
use hyper::{Method, StatusCode};
use url::Url;

/// One request of a call.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The request that this answer asks for; `None` if it is the answer.
pub(super) fn next_hop(
    hop: &Hop,
    status: StatusCode,
    answer: &HeaderMap,
    sensitive: &[String],
) -> Result<Option<Hop>, String> {
    let keeps_method = match status.as_u16() {
        301..=303 => false,
        307 | 308 => true,
        _ => return Ok(None),
    };
    let Some(location) = answer.get(LOCATION).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let mut url = hop.url.join(location).map_err(|why| format!("a redirect to no URL: {why}"))?;
    super::check_url(&url).map_err(|_| "a redirect to a URL that is not of http or https".to_owned())?;
    url.set_fragment(None);
    let mut next = Hop { url, ..hop.clone() };
    if !keeps_method && !matches!(hop.method, Method::GET | Method::HEAD) {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(CONTENT_TYPE);
    }
    if next.url.origin() != hop.url.origin() {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
            next.headers.remove(name);
        }
        for name in sensitive {
            next.headers.remove(name.as_str());
        }
    }
    Ok(Some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(method: Method) -> Hop {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-api-key", "x-other", "content-type"] {
            headers.insert(hyper::header::HeaderName::from_static(name), "v".parse().unwrap());
        }
        Hop { method, url: "https://a.test/x/y".parse().unwrap(), headers, body: "b".into() }
    }

    fn go(method: Method, status: u16, to: &str) -> Result<Option<Hop>, String> {
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, to.parse().unwrap());
        next_hop(&hop(method), StatusCode::from_u16(status).unwrap(), &answer, &["x-api-key".to_owned()])
    }

    #[test]
    fn method_and_body_follow_as_the_status_says() {
        for (method, status, expected, body) in [
            (Method::POST, 301, Method::GET, ""),
            (Method::POST, 302, Method::GET, ""),
            (Method::PUT, 303, Method::GET, ""),
            (Method::HEAD, 303, Method::HEAD, "b"),
            (Method::POST, 307, Method::POST, "b"),
            (Method::DELETE, 308, Method::DELETE, "b"),
        ] {
            let next = go(method, status, "../z").unwrap().unwrap();
            assert_eq!((next.method, &next.body[..]), (expected, body.as_bytes()), "{status}");
            assert_eq!(next.url.as_str(), "https://a.test/z");
            assert!(next.headers.contains_key("authorization"), "the same origin");
        }
        for status in [200, 204, 300, 304, 404] {
            assert!(go(Method::GET, status, "/z").unwrap().is_none(), "{status}");
        }
    }

    #[test]
    fn w4_credentials_stay_with_their_origin() {
        for to in ["https://b.test/", "http://a.test/", "https://a.test:8443/"] {
            let next = go(Method::GET, 302, to).unwrap().unwrap();
            let mut left: Vec<_> = next.headers.keys().map(hyper::header::HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, ["content-type", "x-other"], "{to}");
        }
    }

    #[test]
    fn w2_a_redirect_leads_to_http_only() {
        for to in ["ftp://a/", "file:///etc/passwd", "gopher://x", "http://u:p@a.test/"] {
            go(Method::GET, 302, to).unwrap_err();
        }
    }
}
