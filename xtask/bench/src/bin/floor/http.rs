//! The ceiling of any engine of this shape: the web framework, the script and the commit, and nothing else.
//!
//! The script gets a context map like Relive's and answers a map; it is compiled once.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use rhai::{AST, Dynamic, Engine, Map, Scope};

use super::disk::{Commits, RECORD_BYTES};

const SCRIPT: &str = "let key = ctx.request.params.key; #{ ok: true, key: key }";

struct Floor {
    engine: Engine,
    script: AST,
    commits: Option<Commits>,
}

/// Serves on a free port until the process is killed; prints where.
pub(crate) fn serve(commits: Option<Commits>) -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new();
    let script = engine.compile(SCRIPT)?;
    let floor = Arc::new(Floor { engine, script, commits });
    // The default of workers, as the product's runtime has: one per core.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("floor listening on http://{}", listener.local_addr()?);
        let router = Router::new().route("/bench/{key}", any(answer)).with_state(floor);
        axum::serve(listener, router).await?;
        Ok(())
    })
}

async fn answer(
    State(floor): State<Arc<Floor>>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(text) = floor.run(key, &headers, &body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if let Some(commits) = &floor.commits {
        let mut record = text.clone().into_bytes();
        record.resize(RECORD_BYTES, b'.');
        if !commits.commit(record).await {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

impl Floor {
    fn run(
        &self,
        key: String,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<String, Box<dyn std::error::Error>> {
        let params: Map = [("key".into(), Dynamic::from(key))].into();
        let headers: Map = headers
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().into(), Dynamic::from(value.to_str().ok()?.to_owned())))
            })
            .collect();
        let mut request = Map::new();
        request.insert("method".into(), "POST".into());
        request.insert("params".into(), params.into());
        request.insert("headers".into(), headers.into());
        request.insert("body".into(), String::from_utf8_lossy(body).into_owned().into());
        let mut context = Map::new();
        context.insert("app".into(), "bench".into());
        context.insert("attempt".into(), Dynamic::from_int(1));
        context.insert("request".into(), request.into());
        let mut scope = Scope::new();
        scope.push_constant("ctx", context);
        let result: Dynamic = self.engine.eval_ast_with_scope(&mut scope, &self.script)?;
        Ok(serde_json::to_string(&result)?)
    }
}
