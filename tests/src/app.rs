//! One app as its owner and its callers see it: deploy, call, look at keys, executions, dead letters.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{Http, Manifest, Reply, until};

/// An app on a running server.
#[derive(Clone, Debug)]
pub struct App {
    /// The control plane.
    pub admin: Http,
    /// The data plane.
    pub data: Http,
    /// Its slug.
    pub slug: String,
}

impl App {
    pub(crate) fn new(admin: Http, data: Http, slug: &str) -> App {
        App { admin, data, slug: slug.to_owned() }
    }

    /// A path of the app in the API.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/apps/{}{rest}", self.slug)
    }

    /// The path of a key in the API.
    #[must_use]
    pub fn key_path(&self, collection: &str, key: &str) -> String {
        let (collection, key) =
            (utf8_percent_encode(collection, NON_ALPHANUMERIC), utf8_percent_encode(key, NON_ALPHANUMERIC));
        self.path(&format!("/kv/{collection}/{key}"))
    }

    /// Deploys; the answer is what the API says.
    pub async fn try_deploy(&self, manifest: &Manifest) -> Reply {
        self.admin.post(&self.path("/deploy"), &manifest.body(&self.slug)).await
    }

    /// Deploys, and it works.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn deploy(&self, manifest: &Manifest) -> Value {
        self.try_deploy(manifest).await.expect(200).json()
    }

    /// Calls a route.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        self.data.send(method, &format!("/{}{path}", self.slug), &[], body.to_owned()).await
    }

    /// GET of something of the app in the API, which must be there.
    pub async fn get(&self, rest: &str) -> Value {
        self.admin.get(&self.path(rest)).await.expect(200).json()
    }

    /// All items of a listing of the API, page by page.
    pub async fn items(&self, rest: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        let join = if rest.contains('?') { '&' } else { '?' };
        loop {
            let page = match &cursor {
                Some(cursor) => format!("{rest}{join}limit=1000&cursor={cursor}"),
                None => format!("{rest}{join}limit=1000"),
            };
            let answer = self.get(&page).await;
            items.extend(answer["items"].as_array().cloned().unwrap_or_default());
            match answer["cursor"].as_str() {
                Some(next) => cursor = Some(utf8_percent_encode(next, NON_ALPHANUMERIC).to_string()),
                None => return items,
            }
        }
    }

    /// The value of a key; `None` if it is absent.
    ///
    /// # Panics
    /// On any other answer.
    pub async fn value(&self, collection: &str, key: &str) -> Option<Value> {
        let reply = self.admin.get(&self.key_path(collection, key)).await;
        match reply.status {
            404 => None,
            _ => Some(reply.expect(200).json()),
        }
    }

    /// Writes a key through the API; the answer is its version.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn put(&self, collection: &str, key: &str, value: &Value) -> u64 {
        let reply = self.admin.put(&self.key_path(collection, key), value).await.expect(200);
        reply.json()["lsn"].as_u64().expect("lsn of a PUT")
    }

    /// Keys and values of a collection.
    pub async fn collection(&self, collection: &str) -> std::collections::BTreeMap<String, Value> {
        let items = self.items(&format!("/kv/{collection}")).await;
        items
            .into_iter()
            .map(|item| (item["key"].as_str().unwrap_or_default().to_owned(), item["value"].clone()))
            .collect()
    }

    /// An execution's record.
    pub async fn execution(&self, id: &str) -> Value {
        self.get(&format!("/executions/{id}")).await
    }

    /// Waits until an execution has one of these statuses (separated by `|`).
    pub async fn execution_in(&self, id: &str, statuses: &str) -> Value {
        until(&format!("execution {id} to be {statuses}"), || async {
            let reply = self.admin.get(&self.path(&format!("/executions/{id}"))).await;
            let record = (reply.status == 200).then(|| reply.json())?;
            let status = record["status"].as_str()?.to_owned();
            statuses.split('|').any(|wanted| wanted == status).then_some(record)
        })
        .await
    }

    /// Executions that match a query (`script=…&status=…`).
    pub async fn executions(&self, query: &str) -> Vec<Value> {
        self.items(&format!("/executions?{query}")).await
    }

    /// Open and resolved dead letters that match a query.
    pub async fn letters(&self, query: &str) -> Vec<Value> {
        self.items(&format!("/dead-letters?{query}")).await
    }

    /// Waits until nothing is left in the outbox: a page is as of one LSN, so one look is enough.
    pub async fn settled(&self) {
        let empty = || async { self.items("/outbox").await.is_empty().then_some(()) };
        until("an empty outbox", empty).await;
    }
}
