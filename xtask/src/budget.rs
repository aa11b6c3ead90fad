//! `xtask/budget.toml`: each job's share of minutes and the number of tests below which it fails.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::Failure;

/// What one job may take and must do.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    /// The job's share of the time on two cores, build included. More is reported; `limit` times more is an end.
    pub(crate) minutes: f64,
    /// A job that ran fewer tests than this fails: tests that silently stop running are the worst kind of green.
    pub(crate) floor: u64,
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// A job is stopped, and has failed, after this many times its share.
    pub(crate) limit: f64,
    /// How many seeds the simulated disk gets, in the ordinary tests and in the campaign.
    pub(crate) seeds: Seeds,
    /// By the name of the job.
    pub(crate) job: BTreeMap<String, Share>,
}

/// Seeds for the simulated disk (`RELIVE_SIM_SEEDS`).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seeds {
    pub(crate) unit: u64,
    pub(crate) campaign: u64,
    /// Random inputs of each fuzz target in the campaign (`RELIVE_FUZZ_RUNS`).
    pub(crate) fuzz: u64,
}

impl Budget {
    pub(crate) fn read(root: &Path) -> Result<Self, Failure> {
        let path = root.join("xtask/budget.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    pub(crate) fn share(&self, job: &str) -> Result<Share, Failure> {
        Ok(*self.job.get(job).ok_or_else(|| format!("xtask/budget.toml has no share for the job `{job}`"))?)
    }
}
