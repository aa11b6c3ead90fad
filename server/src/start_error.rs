//! Why a start did not happen: a text for people and an exit code for supervisors.
//!
//! Owns: [`StartError`] and its codes (sysexits.h). Never does: exit.

use relive_log::OpenError;
use relive_projections::ViewsError;

use crate::settings::{env_name, flag_name};

/// Why a start did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct StartError {
    /// Exit code of the process.
    pub(crate) code: u8,
    /// For stderr.
    pub(crate) message: String,
}

impl StartError {
    /// The configuration is wrong (78).
    pub(crate) fn config(message: impl Into<String>) -> StartError {
        StartError { code: 78, message: message.into() }
    }

    /// Stored data could not be read (74).
    pub(crate) fn io(message: impl Into<String>) -> StartError {
        StartError { code: 74, message: message.into() }
    }

    /// The log or the process failed (70).
    pub(crate) fn failed(message: impl Into<String>) -> StartError {
        StartError { code: 70, message: message.into() }
    }

    /// The log was not opened: which LSNs, by what evidence.
    pub(crate) fn of_log(error: &OpenError) -> StartError {
        let mut message = error.to_string();
        if let OpenError::Damaged { lsns, report, .. } = error {
            if let Some((first, last)) = lsns {
                message.push_str(&format!("\nacknowledged and damaged or missing: LSN {first} to {last}"));
            }
            if let Some(report) = report {
                message.push_str(&format!(
                    "\nvalid up to LSN {}, proven durable up to LSN {} (frames say {}, WATERMARK says {}, views say {})\n\
                     the valid prefix ends in segment {} at offset {}: {}; {}",
                    report.valid_lsn,
                    report.proven_lsn,
                    report.frames_lsn,
                    report.watermark_lsn,
                    report.applied_lsn.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string()),
                    report.end_segment,
                    report.end_offset,
                    report.first_bad_check,
                    report.reason,
                ));
            }
            message.push_str(
                "\nnothing was changed; `relive log verify` names what is damaged; restore a backup, or see docs/operations.md",
            );
        }
        if let OpenError::NetworkFilesystem { .. } = error {
            let key = "allow_network_filesystem";
            message.push_str(&format!(
                "; name a directory on a local disk, or force it: --{} or {}=true",
                flag_name(key),
                env_name(key)
            ));
        }
        StartError { code: u8::try_from(error.exit_code()).unwrap_or(70), message }
    }

    /// The views were not opened or folded.
    pub(crate) fn of_views(error: &ViewsError) -> StartError {
        let mut message = error.to_string();
        if error.is_no_space() {
            message.push_str(
                "\nno space: the views need room to be opened; nothing was changed and nothing is lost: free some space, \
                 then start again",
            );
        }
        StartError { code: u8::try_from(error.exit_code()).unwrap_or(70), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_without_room_says_so_and_is_no_failure_of_the_log() {
        use relive_projections::StoreError;
        let full = StoreError::NoSpace { op: "open", message: "No space left on device".into() };
        let StartError { code, message } = StartError::of_views(&full.into());
        assert_eq!(code, 74);
        assert!(message.contains("no space") && message.contains("free some space"), "{message}");
    }

    #[test]
    fn r0_the_refusal_of_a_network_filesystem_says_how_to_force_it() {
        let error = OpenError::NetworkFilesystem { dir: "/mnt/data".into(), kind: "nfs" };
        let StartError { code, message } = StartError::of_log(&error);
        assert_eq!(code, 78);
        for part in ["/mnt/data", "nfs", "--allow-network-filesystem", "RELIVE_ALLOW_NETWORK_FILESYSTEM=true"]
        {
            assert!(message.contains(part), "{message} lacks {part}");
        }
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
