//! A server on a directory of its own with one app deployed: what most tests start from.

use tempfile::TempDir;

use crate::{App, Launch, Manifest, Server};

/// The slug of the app of a [`Site`].
const SLUG: &str = "shop";

/// A running server, its app and its directory.
#[derive(Debug)]
pub struct Site {
    /// The process (dropped before its directory).
    pub server: Server,
    /// The app.
    pub app: App,
    /// Holds `data/`.
    pub dir: TempDir,
    launch: Launch,
}

impl Site {
    /// Starts and deploys.
    pub async fn with(manifest: &Manifest) -> Site {
        Site::launched(|launch| launch, manifest).await
    }

    /// Starts with settings of its own and deploys.
    ///
    /// # Panics
    /// If there is no room for a directory, or the deploy is refused.
    pub async fn launched(settings: impl FnOnce(Launch) -> Launch, manifest: &Manifest) -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        let launch = settings(Launch::on(&dir.path().join("data")));
        let server = launch.start();
        let app = server.app(SLUG);
        app.deploy(manifest).await;
        Site { server, app, dir, launch }
    }

    /// Starts again on the same directory after `end` ended the process.
    #[must_use]
    pub fn restarted(self, end: impl FnOnce(Server)) -> Site {
        let Site { server, dir, launch, .. } = self;
        end(server);
        let server = launch.start();
        let app = server.app(SLUG);
        Site { server, app, dir, launch }
    }

    /// Restarted after SIGKILL.
    #[must_use]
    pub fn crashed(self) -> Site {
        self.restarted(|server| drop(server.kill()))
    }
}
